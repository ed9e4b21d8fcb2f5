/** Names of files in a job folder: what may travel through every batch system and back. */
import { ApppotError } from '../errors.ts';

/** Folder of AppPot's own files in a sandbox. */
export const PARTS = 'apppot-parts';
/** What a target starts. */
export const SCRIPT = `${PARTS}/apppot-job`;
/** How a job ended, beside its results. */
export const OUTCOME = 'outcome.json';

/** Web addresses, and those of grid storage, which only ARC sites fetch from. */
const URL_TEXT = /^(?:https?|davs?|ftp|gsiftp|srm|root|s3):\/\/[^\s/]+\/\S*$/;

const RESERVED: readonly string[] = [PARTS, '.apppot', OUTCOME, `${OUTCOME}.part`];

/**
 * Checks a path below the job folder, and gives its shortest form.
 *
 * @throws ApppotError `usage` for one that is absolute, leaves the folder, is AppPot's own, or cannot travel
 */
export function checkName(name: string, what: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  const problem = name.startsWith('/')
    ? 'is absolute'
    : parts.includes('..')
      ? 'leaves the job folder'
      : parts.length === 0
        ? 'names nothing'
        : /\p{Cc}|\uFFFD/u.test(name)
          ? 'holds control characters, or is not UTF-8'
          : RESERVED.includes(parts[0] ?? '')
            ? "is AppPot's own"
            : Buffer.byteLength(name) > 1024 || parts.some((part) => Buffer.byteLength(part) > 240)
              ? 'is too long'
              : undefined;
  if (problem === undefined) return parts.join('/');
  throw new ApppotError('usage', `${what}: the name ${JSON.stringify(name)} ${problem}.`, {
    hint: 'Names are relative to the job folder, such as data/input.csv.',
  });
}

/** True for what a site fetches, and is no file here. */
export function isUrl(text: string): boolean {
  return URL_TEXT.test(text);
}

/** True for a path that a sandbox or a server may name: relative, below the folder, no control characters. */
export function isSafeName(name: string): boolean {
  return (
    name !== '' &&
    !name.startsWith('/') &&
    !/\p{Cc}/u.test(name) &&
    name.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  );
}
