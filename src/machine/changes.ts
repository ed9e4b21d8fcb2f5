import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ApppotError } from '../errors.ts';

/** A file of `--changes`, as a launch takes it. */
export interface ChangesFile {
  /** Absolute. */
  readonly path: string;
  /** SHA-256 of the changes file, also when this is the layer that was made of it. */
  readonly digest: string;
  /** True for a layer (squashfs with AppPot's last block), which is mounted; else it is unpacked. */
  readonly layer: boolean;
}

const BLOCK = 4096;
const SQUASHFS_MAGIC = 'hsqs';

/**
 * Finds out which changes a file holds.
 *
 * @throws ApppotError `not-found`, or `archive` for a squashfs that is no layer
 */
export async function readChangesFile(path: string): Promise<ChangesFile> {
  const file = await open(path).catch((error: unknown) => {
    throw new ApppotError('not-found', `Cannot open the changes file ${path}.`, {
      cause: error,
      hint: 'Changes are made by "apppot snap changes".',
    });
  });
  try {
    const magic = Buffer.alloc(SQUASHFS_MAGIC.length);
    await file.read(magic, 0, magic.length, 0);
    const layer = magic.toString('latin1') === SQUASHFS_MAGIC;
    return { path: resolve(path), layer, digest: layer ? await recorded(file, path) : await digest(file) };
  } finally {
    await file.close();
  }
}

/** What the last block of a layer says (image/slirp/changes.c has the format). */
async function recorded(file: FileHandle, path: string): Promise<string> {
  const { size } = await file.stat();
  const block = Buffer.alloc(BLOCK);
  if (size >= BLOCK) await file.read(block, 0, BLOCK, size - BLOCK);
  const found = /^APPPOT-LAYER 1\n(?:[^\n]+\n)*?changes=([0-9a-f]{64})\n/.exec(block.toString('latin1'));
  if (found?.[1] === undefined) {
    throw new ApppotError('archive', `${path} is truncated, or no layer of AppPot.`, {
      hint: 'Copy or make the file again.',
    });
  }
  return found[1];
}

async function digest(file: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of file.createReadStream({ start: 0, autoClose: false }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}
