import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { systemCode } from '../errors.ts';
import { listGuests } from './guests.ts';

/** A run folder whose guest is gone. */
export interface LeftFolder {
  readonly folder: string;
  /** Last change, ISO 8601. */
  readonly changed: string;
}

/**
 * Finds run folders in `jobFolder/.apppot` whose launch failed or was killed, on this machine: a guest of
 * another node that shares the folder cannot be seen from here, so fresh folders are left alone.
 *
 * @param jobFolder the folder that guests were started in
 * @param minimumAge seconds since the last change
 */
export async function findLeftFolders(jobFolder: string, minimumAge: number): Promise<readonly LeftFolder[]> {
  const parent = join(resolve(jobFolder), '.apppot');
  const running = new Set((await listGuests()).map((guest) => join(guest.jobFolder, '.apppot', guest.id)));
  const names = await readdir(parent).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return [];
    throw error;
  });
  const left: LeftFolder[] = [];
  for (const name of names.sort()) {
    const folder = join(parent, name);
    const status = await lstat(folder);
    const age = (Date.now() - status.mtimeMs) / 1000;
    if (!status.isDirectory() || status.uid !== process.getuid?.() || running.has(folder) || age < minimumAge)
      continue;
    left.push({ folder, changed: status.mtime.toISOString() });
  }
  return left;
}

/** Removes them, and `.apppot` when it is empty then. Links inside are removed, not followed. */
export async function removeLeftFolders(jobFolder: string, folders: readonly LeftFolder[]): Promise<void> {
  for (const { folder } of folders) await rm(folder, { recursive: true, force: true });
  await rmdir(join(resolve(jobFolder), '.apppot')).catch(() => undefined);
}
