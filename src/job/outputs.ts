/** Which files of a job folder are results. */
import picomatch from 'picomatch';
import { isSafeName, OUTCOME, PARTS } from './names.ts';

/**
 * Chooses among paths: those that a pattern matches, or that lie in a folder that one matches; and the outcome.
 * AppPot's own files, and names that would lead out of the folder, never are.
 *
 * @param patterns as a shell reads them
 */
export function isOutput(patterns: readonly string[]): (path: string) => boolean {
  const options = { nobrace: true, noextglob: true, nonegate: true };
  const matchers = patterns.map((pattern) => picomatch(pattern, options));
  return (path) => {
    if (!isSafeName(path)) return false;
    if (path === OUTCOME) return true;
    const parts = path.split('/');
    if (parts[0] === PARTS || parts[0] === '.apppot' || path.endsWith('.apppot-part')) return false;
    return parts.some((_part, at) => {
      const head = parts.slice(0, at + 1).join('/');
      return patterns.includes(head) || matchers.some((matches) => matches(head));
    });
  };
}
