/** Compression by programs of this machine, chosen by a file's name when writing and by its content when reading. */
import { createReadStream } from 'node:fs';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { access, constants, open } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../errors.ts';
import { baseEnvironment } from '../process/run.ts';
import { runPiped } from '../process/pipe.ts';

export type Compression = 'none' | 'gzip' | 'zstd';

/**
 * What a file's name asks for.
 *
 * @throws ApppotError `usage` for a name that says nothing known
 */
export function compressionOf(name: string): Compression {
  if (/\.(?:tar\.gz|tgz|gz)$/.test(name)) return 'gzip';
  if (/\.(?:tar\.zst|tzst|zst)$/.test(name)) return 'zstd';
  if (/\.tar$/.test(name) || name === '-') return 'none';
  throw new ApppotError('usage', `The name ${name} does not say how to compress.`, {
    hint: 'Let it end in .tar.gz, .tar.zst or .tar.',
  });
}

/** A stream to write to, and the end of the work on what was written. */
export interface Stage {
  readonly input: Writable;
  readonly done: Promise<void>;
}

/**
 * Compresses into a stream. gzip without name and time, zstd on all processors: the same input gives the same bytes.
 *
 * @throws ApppotError `missing-tool` without zstd (gzip is there always: Node.js has one)
 */
export async function compressInto(kind: Compression, output: Writable, signal: AbortSignal): Promise<Stage> {
  if (kind === 'none') return { input: output, done: finished(output) };
  const input = new PassThrough();
  const words = kind === 'gzip' ? ['-n', '-c'] : ['-q', '-T0', '-c'];
  if (!(await isOnPath(kind))) {
    if (kind === 'zstd') throw noZstd();
    const done = finished(output);
    input.pipe(createGzip()).pipe(output);
    return { input, done };
  }
  const work = runPiped(kind, words, { stdin: input, stdout: output, signal });
  const done = Promise.all([work, finished(output)]).then(([{ code, stderr }]) => {
    if (code !== 0) throw new ApppotError('process-failed', `${kind} failed: ${stderr.trim()}`);
  });
  // Whoever awaits `done` hears of it; a failure before that must not end the process.
  done.catch(() => undefined);
  return { input, done };
}

/** Bytes to read, and whether they were all of it and whole: a check sum is behind the last one. */
export interface Content {
  readonly stream: Readable;
  /** Fulfilled when the whole was decompressed; the bytes count only then. */
  readonly whole: Promise<void>;
}

/** The content of a file, plain, whatever it is compressed with. */
export async function plainContent(file: string, signal: AbortSignal): Promise<Content> {
  const kind = await compressionIn(file);
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  if (kind === 'none') return { stream: source, whole: Promise.resolve() };
  const output = new PassThrough();
  if (!(await isOnPath(kind))) {
    if (kind === 'zstd') throw noZstd();
    const whole = pipeline(source, createGunzip(), output).catch((error: unknown) => {
      throw damaged(file, (error as Error).message);
    });
    whole.catch(() => undefined);
    return { stream: output, whole };
  }
  const whole = runPiped(kind, ['-d', '-c', '-q'], { stdin: source, stdout: output, signal }).then(
    ({ code, stderr }) => {
      if (code !== 0) throw damaged(file, stderr.trim().replace(/^\s*(?:gzip|zstd): /, ''));
    },
  );
  // Whoever awaits `whole` hears of it; a failure before that must not end the process.
  whole.catch(() => undefined);
  return { stream: output, whole };
}

/** By the first bytes: RFC 1952, RFC 8878. */
async function compressionIn(file: string): Promise<Compression> {
  const handle = await open(file);
  try {
    const head = Buffer.alloc(4);
    await handle.read(head, 0, 4, 0);
    if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
    return head.readUInt32LE(0) === 0xfd2fb528 ? 'zstd' : 'none';
  } finally {
    await handle.close();
  }
}

function damaged(file: string, why: string): ApppotError {
  return new ApppotError('archive', `${file} is damaged: ${why}`, { hint: 'Copy or make the file again.' });
}

function noZstd(): ApppotError {
  return new ApppotError('missing-tool', 'There is no program zstd.', {
    hint: 'Install the Debian package zstd, or use a name that ends in .tar.gz.',
  });
}

/** Is there such a program? */
export async function isOnPath(name: string): Promise<boolean> {
  for (const folder of (baseEnvironment()['PATH'] ?? '').split(':')) {
    const found = await access(join(folder, name), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}

async function finished(stream: Writable): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    stream.once('error', reject);
    stream.once('close', resolve);
  });
}
