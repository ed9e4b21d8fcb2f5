/** Files that are not yet whole: they grow under a name of their own, and get theirs when all bytes are there. */
import { constants, createReadStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename } from 'node:path';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ApppotError } from '../../errors.ts';

/**
 * Name, in the same folder, of the unfinished form of a file. Long names are cut, so that it fits NAME_MAX.
 *
 * @param key says which content it is; other content gets another name
 */
export function partName(path: string, key: string): string {
  const name = Buffer.from(basename(path)).subarray(0, 160).toString().replaceAll('\uFFFD', '');
  return `.${name}.${key}.apppot-part`;
}

/** Size of what is to be sent. */
export async function sourceSize(source: string | Uint8Array): Promise<number> {
  if (typeof source !== 'string') return source.length;
  try {
    return (await fs.stat(source)).size;
  } catch (cause) {
    throw new ApppotError('not-found', `Cannot read ${source}: ${(cause as Error).message}.`, { cause });
  }
}

/** Bytes of a file or of memory from an offset on. */
export function sourceStream(source: string | Uint8Array, offset: number): Readable {
  return typeof source === 'string'
    ? createReadStream(source, { start: offset })
    : Readable.from(offset < source.length ? [source.subarray(offset)] : []);
}

/**
 * Counts the bytes that pass; `onBytes` hears the whole sum, `offset` included. More than `most` is an error: a sender
 * that finds no end fills no disk.
 */
export function counter(
  onBytes: ((sum: number) => void) | undefined,
  offset: number,
  most = Number.POSITIVE_INFINITY,
): Transform {
  let sum = offset;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sum += chunk.length;
      onBytes?.(sum);
      if (sum > most)
        done(new ApppotError('target', `More than the ${most} bytes that were announced arrive.`));
      else done(null, chunk);
    },
  });
}

/** Keeps all bytes, up to 256 MiB. */
export class Collector extends Writable {
  readonly #chunks: Buffer[] = [];
  #size = 0;

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#size += chunk.length;
    if (this.#size > 2 ** 28) {
      done(new ApppotError('target', 'An answer has more than 256 MiB.'));
      return;
    }
    this.#chunks.push(chunk);
    done();
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/** How many bytes of a part are here already; a part that is longer than it can be is removed. */
export async function partSize(part: string, whole: number): Promise<number> {
  const size = (await fs.lstat(part).catch(() => undefined))?.size ?? 0;
  if (size <= whole) return size;
  await fs.rm(part);
  return 0;
}

/**
 * Copies a file or bytes into a part here, going on where it ended. Two who do so at once write the same bytes at the
 * same places.
 *
 * @throws ApppotError `transport` when the source changed meanwhile
 */
export async function sendInto(
  source: string | Uint8Array,
  part: string,
  options: { readonly signal: AbortSignal; readonly onBytes?: (sum: number) => void },
): Promise<void> {
  const whole = await sourceSize(source);
  // Opened before it is looked at: by its name, it might be another one meanwhile, with nothing where we do not write.
  const file = await fs.open(part, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    let { size: offset } = await file.stat();
    if (offset > whole) {
      await file.truncate(0);
      offset = 0;
    }
    await pipeline(
      sourceStream(source, offset),
      counter(options.onBytes, offset),
      (chunks: AsyncIterable<Buffer>) => writeAt(file, offset, chunks),
      { signal: options.signal },
    );
    const { size } = await file.stat();
    if (size === whole) return;
    await fs.rm(part, { force: true });
    throw new ApppotError('transport', `${part} has ${size} bytes, and not ${whole}: it changed meanwhile.`, {
      transient: true,
    });
  } finally {
    await file.close();
  }
}

async function writeAt(file: fs.FileHandle, offset: number, chunks: AsyncIterable<Buffer>): Promise<void> {
  let position = offset;
  for await (const chunk of chunks)
    for (let sent = 0; sent < chunk.length;) {
      const { bytesWritten } = await file.write(chunk, sent, chunk.length - sent, position);
      sent += bytesWritten;
      position += bytesWritten;
    }
}
