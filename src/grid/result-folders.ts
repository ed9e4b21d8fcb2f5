/** Folders for results: their names come from a site, and are hostile until shown otherwise. */
import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';

/**
 * Makes the folders of `path` below `base`, none of which may be a link that leads elsewhere.
 *
 * @param path relative, with `/` between its parts; `.` and the empty path are `base` itself
 * @throws ApppotError `exists` when something else has the name of a folder
 */
export async function makeFolders(base: string, path: string): Promise<void> {
  if (path === '.' || path === '') return;
  let folder = base;
  for (const part of path.split('/')) {
    folder = join(folder, part);
    try {
      await mkdir(folder);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST' || !(await lstat(folder)).isDirectory()) throw inTheWay(folder);
    }
  }
}

/** What is said when a result cannot get its name. */
export function inTheWay(path: string): ApppotError {
  return new ApppotError('exists', `${path} is in the way of results.`, {
    hint: 'Move it away, or fetch into another folder.',
  });
}
