/** Keeps what builds made, by digest of what went in. */
import { createHash, type BinaryLike } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../config/paths.ts';
import { run } from '../process/run.ts';

/** How many images and how many base systems are kept: the ones used last. */
const KEPT = 4;

/** What is known about a built image. */
export interface ImageFacts {
  /** Digest of the manifest that the image was recorded with. */
  readonly baseId: string;
}

/**
 * Digest of named inputs, in their order.
 *
 * @param inputs names (so that moved content is a change) and content
 */
export function digestOf(inputs: readonly (readonly [string, BinaryLike])[]): string {
  const hash = createHash('sha256');
  for (const [name, content] of inputs) {
    const length = typeof content === 'string' ? Buffer.byteLength(content) : content.byteLength;
    hash.update(`${Buffer.byteLength(name)}:${name}${length}:`).update(content);
  }
  return hash.digest('hex');
}

/** Where the base system with that digest is, or will be. The folder exists afterwards. */
export async function baseTarPath(key: string): Promise<string> {
  await mkdir(cacheFolder('images'), { recursive: true });
  const file = cacheFolder('images', `${key}.tar`);
  await touch(file);
  return file;
}

/**
 * Copies the cached image with that digest to `destination`.
 *
 * @returns what is known about it, or undefined when there is none
 */
export async function takeImage(
  key: string,
  destination: string,
  signal: AbortSignal,
): Promise<ImageFacts | undefined> {
  const file = cacheFolder('images', `${key}.img`);
  const facts = await readFile(cacheFolder('images', `${key}.json`), 'utf8').catch(() => undefined);
  if (facts === undefined || (await stat(file).catch(() => undefined)) === undefined) return undefined;
  await copySparse(file, destination, signal);
  await touch(file);
  return JSON.parse(facts) as ImageFacts;
}

/** Keeps a copy of a built image. The facts come last: an image without them does not count. */
export async function keepImage(
  key: string,
  image: string,
  facts: ImageFacts,
  signal: AbortSignal,
): Promise<void> {
  const file = cacheFolder('images', `${key}.img`);
  await mkdir(cacheFolder('images'), { recursive: true });
  const part = `${file}.${process.pid}.part`;
  try {
    await copySparse(image, part, signal);
    await rename(part, file);
  } finally {
    await rm(part, { force: true });
  }
  await writeFile(cacheFolder('images', `${key}.json`), `${JSON.stringify(facts)}\n`);
  await prune('.img');
  await prune('.tar');
}

/** Removes all but the {@link KEPT} files used last of one kind. */
async function prune(ending: string): Promise<void> {
  const folder = cacheFolder('images');
  const files = await Promise.all(
    (await readdir(folder))
      .filter((name) => name.endsWith(ending))
      .map(async (name) => ({ name, time: (await stat(join(folder, name))).mtimeMs })),
  );
  for (const { name } of files.sort((a, b) => b.time - a.time).slice(KEPT)) {
    await rm(join(folder, name), { force: true });
    await rm(join(folder, `${name.slice(0, -ending.length)}.json`), { force: true });
  }
}

async function copySparse(from: string, to: string, signal: AbortSignal): Promise<void> {
  await run('cp', ['--sparse=always', '--reflink=auto', '--', from, to], { signal });
}

/** Marks a file as used now; a missing one stays missing. */
async function touch(file: string): Promise<void> {
  const now = new Date();
  await utimes(file, now, now).catch(() => undefined);
}
