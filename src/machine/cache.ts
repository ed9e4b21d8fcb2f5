import { lstat, opendir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../config/paths.ts';
import { systemCode } from '../errors.ts';

/** What the cache keeps, by kind, and what is lost when it is removed. */
export const CACHE_KINDS = {
  runtime: 'built kernels and supervisors; building one takes minutes',
  sources: 'downloaded sources of the runtime',
  images: 'base systems and images, for rebuilds in seconds',
  tools: 'programs that pack images',
  layers: 'changes files as layers, made at their first launch',
  probes: 'what kernels answered about themselves',
  log: 'logs of builds',
} as const;

export type CacheKind = keyof typeof CACHE_KINDS;

/** How much one kind takes on the disk. */
export interface CacheUse {
  readonly kind: CacheKind;
  readonly bytes: number;
  readonly folder: string;
}

/** Disk use of the cache, kind by kind. */
export async function cacheUse(): Promise<readonly CacheUse[]> {
  const kinds = Object.keys(CACHE_KINDS) as CacheKind[];
  return Promise.all(
    kinds.map(async (kind) => ({ kind, folder: cacheFolder(kind), bytes: await diskUse(cacheFolder(kind)) })),
  );
}

/** Removes kinds of the cache; everything in it can be made again. */
export async function cleanCache(kinds: readonly CacheKind[]): Promise<void> {
  for (const kind of kinds) await rm(cacheFolder(kind), { recursive: true, force: true });
}

/** Bytes that a tree takes on the disk, as du(1) counts them: blocks of 512 bytes, links not followed. */
async function diskUse(path: string): Promise<number> {
  const status = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (status === undefined) return 0;
  let bytes = status.blocks * 512;
  if (status.isDirectory()) {
    for await (const entry of await opendir(path)) bytes += await diskUse(join(path, entry.name));
  }
  return bytes;
}
