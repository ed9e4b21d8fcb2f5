/** SHA-256 of files, remembered: an image of gigabytes is read once, and not for every job. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { cacheFolder } from '../config/paths.ts';

/**
 * Digest of a file's content.
 *
 * What is remembered counts while name, inode, size and times are the same.
 */
export async function digestOf(file: string, signal: AbortSignal): Promise<string> {
  const status = await stat(file, { bigint: true });
  const state = [resolve(file), status.dev, status.ino, status.size, status.mtimeNs, status.ctimeNs].join(
    '\0',
  );
  const memory = join(cacheFolder('digests'), createHash('sha256').update(state).digest('hex'));
  const known = await readFile(memory, 'utf8').catch(() => '');
  if (/^[0-9a-f]{64}$/.test(known)) return known;
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash, { signal });
  const digest = hash.digest('hex');
  // Small files are digested faster than they are looked up.
  if (status.size > 1_048_576n) {
    await mkdir(cacheFolder('digests'), { recursive: true });
    await writeFile(memory, digest);
  }
  return digest;
}
