import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where this package lies: the folder with package.json, image/, modules/ and templates/. */
// This file is dist/src/config/paths.js when it runs.
const PACKAGE_ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Path of a file that belongs to the package, such as `packageFile('image', 'rootstrap.conf')`. */
export function packageFile(...parts: readonly string[]): string {
  return join(PACKAGE_ROOT, ...parts);
}

/**
 * A folder of ours below one of the XDG base directories; not created.
 *
 * @see https://specifications.freedesktop.org/basedir-spec/latest/ : relative values are to be ignored
 */
function xdgFolder(variable: string, fallback: string, parts: readonly string[]): string {
  const value = process.env[variable];
  const base = value?.startsWith('/') === true ? value : join(homedir(), fallback);
  return join(base, 'apppot', ...parts);
}

/** A folder for what can be made again: runtimes, downloaded sources, image layers. */
export function cacheFolder(...parts: readonly string[]): string {
  return xdgFolder('XDG_CACHE_HOME', '.cache', parts);
}

/** A folder for what is the user's and must survive: sessions, the journal of jobs. */
export function stateFolder(...parts: readonly string[]): string {
  return xdgFolder('XDG_STATE_HOME', '.local/state', parts);
}

/** The user's own configuration folder. */
export function configFolder(...parts: readonly string[]): string {
  return xdgFolder('XDG_CONFIG_HOME', '.config', parts);
}
