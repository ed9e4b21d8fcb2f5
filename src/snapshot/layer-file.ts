/** The format of a layer: a squashfs, padded to blocks, and one block of text that says what it is. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { ApppotError } from '../errors.ts';
import type { Summary } from './engine.ts';

const BLOCK = 4096;
const MAGIC = 'hsqs';

/** What the last block says; image/slirp/changes.c reads it, too. */
export interface LayerMark {
  readonly base: string;
  /** SHA-256 of the changes file that it was made of. */
  readonly changes: string;
  /** Bytes before the block, a multiple of 4096. */
  readonly size: number;
  /** SHA-256 of those bytes. */
  readonly sha256: string;
  /** CRC-32C of the same: what a launch checks, since it takes no time. */
  readonly crc32c: string;
}

/** The last block of a layer. */
export function markBlock(mark: LayerMark): Buffer {
  const lines = (['base', 'changes', 'size', 'sha256', 'crc32c'] as const).map(
    (key) => `${key}=${mark[key]}\n`,
  );
  const block = Buffer.alloc(BLOCK);
  block.write(`APPPOT-LAYER 1\n${lines.join('')}\n`, 'latin1');
  return block;
}

/** By its first bytes. */
export async function isLayer(file: string): Promise<boolean> {
  const handle = await open(file);
  try {
    const head = Buffer.alloc(MAGIC.length);
    await handle.read(head, 0, head.length, 0);
    return head.toString('latin1') === MAGIC;
  } finally {
    await handle.close();
  }
}

/** What the last block of a layer says, or undefined when it makes no sense. */
export async function readMark(file: string): Promise<LayerMark | undefined> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    if (size < 2 * BLOCK || size % BLOCK !== 0) return undefined;
    const block = Buffer.alloc(BLOCK);
    await handle.read(block, 0, BLOCK, size - BLOCK);
    const text = block.toString('latin1');
    if (!text.startsWith('APPPOT-LAYER 1\n')) return undefined;
    const value = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1] ?? '';
    const [base, changes, sha256] = [value('base'), value('changes'), value('sha256')];
    const mark = { base, changes, size: Number(value('size')), sha256, crc32c: value('crc32c') };
    const isWhole = [base, changes, sha256].every((digest) => /^[0-9a-f]{64}$/.test(digest));
    return isWhole && mark.size === size - BLOCK ? mark : undefined;
  } finally {
    await handle.close();
  }
}

/** SHA-256 of the first bytes of a file, in hexadecimal. */
export async function digestOf(file: string, bytes: number, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  if (bytes > 0) {
    const stream = createReadStream(file, { end: bytes - 1, highWaterMark: 1 << 20, signal });
    for await (const chunk of stream) hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}

/**
 * Reads a layer to its end.
 *
 * @throws ApppotError `archive`
 */
export async function verifyLayer(file: string, signal: AbortSignal): Promise<Summary> {
  const hint = 'Copy or make the file again.';
  const mark = await readMark(file);
  if (mark === undefined)
    throw new ApppotError('archive', `${file} is truncated, or no layer of AppPot.`, { hint });
  if ((await digestOf(file, mark.size, signal)) !== mark.sha256)
    throw new ApppotError('archive', `${file} is damaged: its SHA-256 is another one.`, { hint });
  return { ...mark, whole: true, layer: true };
}
