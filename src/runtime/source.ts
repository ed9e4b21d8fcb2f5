/** A kernel source that the user names. */
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { ApppotError } from '../errors.ts';
import { fileDigest } from './digest.ts';
import type { Fetched } from './fetch.ts';

/** What tells this file from another without reading it: for the quick answer that its runtime is there. */
export async function sourceKey(file: string): Promise<string> {
  const status = await sourceStatus(file);
  return [resolve(file), status.dev, status.ino, status.size, status.mtimeMs].join(' ');
}

/** The file as a source, with its digest. */
export async function givenSource(file: string): Promise<Fetched> {
  await sourceStatus(file);
  const path = resolve(file);
  return { name: 'kernel', version: basename(path), file: path, sha256: await fileDigest(path) };
}

async function sourceStatus(file: string) {
  const status = await stat(file).catch((error: unknown) => {
    throw new ApppotError('runtime-source', `Cannot read the kernel source ${file}.`, {
      cause: error,
      hint: '--source takes a tarball of the kernel, such as linux-7.3.tar.xz.',
    });
  });
  if (!status.isFile()) {
    throw new ApppotError('runtime-source', `The kernel source ${file} is not a file.`, {
      hint: '--source takes a tarball, not an unpacked folder.',
    });
  }
  return status;
}
