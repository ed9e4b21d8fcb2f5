/** Work on a copy of a disk that takes its place when all is well: the old state or the new one, never half. */
import { access, constants, open, realpath, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';
import { partName, removeParts } from '../image/part.ts';
import { run } from '../process/run.ts';
import { refuseInUse } from './in-use.ts';

/** A disk with less room than this counts as full: its last blocks are root's, or too few for a write. */
const FULL_BYTES = 4 << 20;

/**
 * Copies a disk, lets `work` change the copy, and renames it over the original. When anything fails the copy is removed
 * and the original is as it was; the copy of a process that was killed is removed by the next one.
 *
 * @param disk path of an image or copy-on-write file; a link is followed
 * @throws ApppotError `permission`, `no-space`, `locked` when the original changed meanwhile, and what `work` throws
 */
export async function replaceByCopy<T>(
  disk: string,
  signal: AbortSignal,
  work: (copy: string) => Promise<T>,
): Promise<T> {
  const original = await realpath(disk);
  const folder = dirname(original);
  await access(original, constants.W_OK).catch((error: unknown) => {
    throw new ApppotError('permission', `${disk} cannot be written to (${systemCode(error) ?? '?'}).`, {
      hint: 'Copy it to a place of your own, or keep changes beside it: COW:IMAGE.',
    });
  });
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new ApppotError('permission', `The folder ${folder} cannot be written to.`, {
      cause: error,
      hint: `The new state of ${basename(original)} is made beside it: copy it to a folder of your own.`,
    });
  });
  await removeParts(original);
  const copy = partName(original);
  try {
    const before = await stat(original, { bigint: true });
    await copySparse(original, copy, signal);
    const result = await work(copy);
    signal.throwIfAborted();
    const now = await stat(original, { bigint: true });
    if (now.mtimeNs !== before.mtimeNs || now.ino !== before.ino || now.size !== before.size)
      throw new ApppotError('locked', `${disk} was written to meanwhile; it is left as it is.`, {
        hint: 'Try again when nobody uses it.',
      });
    await refuseInUse(original, disk);
    await flush(copy);
    await rename(copy, original);
    await flush(folder);
    return result;
  } catch (error) {
    throw await fullDisk(error, disk, folder);
  } finally {
    await rm(copy, { force: true });
  }
}

/** A guest whose disk cannot grow any more sees errors of the disk; here one can see why. */
async function fullDisk(error: unknown, disk: string, folder: string): Promise<unknown> {
  const isDisk =
    error instanceof ApppotError && /input\/output error|read-only file system/i.test(error.message);
  const { bavail, bsize } = await statfs(folder);
  if (!isDisk || bavail * bsize > FULL_BYTES) return error;
  return new ApppotError('no-space', `There is no room for the new state of ${disk}: the disk is full.`, {
    cause: error,
    hint: `Make room in ${folder}; nothing was changed.`,
  });
}

/**
 * Copies a disk: shared blocks where the file system can, holes as holes.
 *
 * @throws ApppotError `no-space`, `process-failed`
 */
export async function copySparse(from: string, to: string, signal: AbortSignal): Promise<void> {
  const words = ['--reflink=auto', '--sparse=always', '--preserve=mode,ownership', '--no-dereference'];
  try {
    await run('cp', [...words, '--', await realpath(from), to], { signal });
  } catch (error) {
    if (error instanceof ApppotError && /No space left|quota/i.test(error.message))
      throw new ApppotError('no-space', `There is no room for a copy of ${from}.`, {
        cause: error,
        hint: `Make room in ${dirname(to)}: the work is done on a copy, so that nothing is lost if it fails.`,
      });
    throw error;
  }
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
