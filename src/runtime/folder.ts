/** The folders of built runtimes in the cache, and which of them is used. */
import { mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cacheFolder } from '../config/paths.ts';
import type { Manifest } from './types.ts';

/** Name of the link to the runtime that was built or asked for last. */
const CURRENT = 'current';

/** Where runtimes are kept. */
export function runtimesFolder(): string {
  return cacheFolder('runtime');
}

/** The manifest of a runtime folder; undefined when it is not complete. */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const text = await readFile(join(folder, 'manifest.json'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Manifest);
}

/** Folder of the runtime in use, if there is one. */
export async function currentFolder(): Promise<string | undefined> {
  const name = await readlink(join(runtimesFolder(), CURRENT)).catch(() => undefined);
  return name === undefined ? undefined : join(runtimesFolder(), basename(name));
}

/** The runtime that was built from these inputs and this source the last time, if it is still there. */
export async function rememberedFolder(key: string): Promise<string | undefined> {
  const digest = await readFile(join(runtimesFolder(), 'built', key), 'utf8').catch(() => undefined);
  if (digest === undefined || !/^[0-9a-f]+$/.test(digest)) return undefined;
  const folder = join(runtimesFolder(), digest);
  return (await readManifest(folder)) === undefined ? undefined : folder;
}

/** A complete runtime here whose kernels were made from the same, with its manifest. */
export async function folderWithKernels(
  kernels: string,
): Promise<{ readonly folder: string; readonly manifest: Manifest } | undefined> {
  for (const name of await readdir(runtimesFolder())) {
    if (!/^[0-9a-f]+$/.test(name)) continue;
    const folder = join(runtimesFolder(), name);
    const manifest = await readManifest(folder);
    if (manifest?.kernels === kernels) return { folder, manifest };
  }
  return undefined;
}

/** Makes `folder` the runtime in use and remembers it for `key`. */
export async function useFolder(folder: string, key: string): Promise<void> {
  const base = runtimesFolder();
  await mkdir(join(base, 'built'), { recursive: true });
  const temporary = join(base, `.link-${process.pid}`);
  await writeFile(temporary, basename(folder));
  await rename(temporary, join(base, 'built', key));
  if ((await currentFolder()) === folder) return;
  await rm(temporary, { force: true });
  await symlink(basename(folder), temporary);
  await rename(temporary, join(base, CURRENT));
}
