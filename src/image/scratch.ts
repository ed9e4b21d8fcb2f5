/** The private folder that a build works in. */
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';

const PREFIX = 'apppot-build-';

/** A file that says: the user wants this folder. */
const KEEP = 'keep';

/**
 * Makes a scratch folder below $TMPDIR, else /var/tmp: a build needs about three times the size of the system, too
 * much for a /tmp that is memory. Folders that killed builds of this user left there are handed to `remove` first.
 *
 * @param remove ends the life of a folder that may hold files of other owners
 * @param prefix of the folder's name, one for each kind of work
 */
export async function makeScratch(
  remove: (folder: string) => Promise<void>,
  prefix = PREFIX,
): Promise<string> {
  const base = scratchBase();
  for (const folder of await abandoned(base, prefix)) await remove(folder);
  const folder = await mkdtemp(join(base, prefix));
  await chmod(folder, 0o700);
  await writeFile(join(folder, 'pid'), `${process.pid}\n`);
  return folder;
}

/** Keeps a scratch folder from later builds, which tidy up after killed ones. */
export async function keepScratch(folder: string): Promise<void> {
  await writeFile(join(folder, KEEP), '');
}

/** Where scratch folders are made. */
export function scratchBase(): string {
  const configured = process.env['TMPDIR'];
  return configured?.startsWith('/') === true ? configured : '/var/tmp';
}

/** Scratch folders of this user whose build is no longer there. */
async function abandoned(base: string, prefix: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await readdir(base).catch(() => [])) {
    if (!name.startsWith(prefix)) continue;
    const folder = join(base, name);
    const status = await stat(folder).catch(() => undefined);
    if (status?.isDirectory() !== true || status.uid !== process.getuid?.()) continue;
    if ((await stat(join(folder, KEEP)).catch(() => undefined)) !== undefined) continue;
    const pid = Number.parseInt(await readFile(join(folder, 'pid'), 'utf8').catch(() => ''), 10);
    // A folder without a process number is being made right now, unless it is old.
    const isGone = Number.isNaN(pid) ? Date.now() - status.mtimeMs > 3_600_000 : !isAlive(pid);
    if (isGone) found.push(folder);
  }
  return found;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/** Removes a folder whose files all belong to this user. */
export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 2 });
}

/** Copies the files (not the folders) of a folder, with their modes, into a new one. */
export async function copyFiles(from: string, to: string): Promise<void> {
  await mkdir(to);
  for (const name of await readdir(from)) await copyFile(join(from, name), join(to, name));
}
