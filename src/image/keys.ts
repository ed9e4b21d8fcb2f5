/** Digests of what goes into an image: the same digest means the same bytes. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../config/paths.ts';
import { run } from '../process/run.ts';
import { digestOf } from './cache.ts';
import type { GuestPackage } from './guest-package.ts';
import type { Module } from './modules.ts';
import type { Release } from './release.ts';
import type { Settings } from './settings.ts';
import { toolVersions } from './tools.ts';

/** What decides the bytes of an image. */
export interface Ingredients {
  readonly settings: Settings;
  readonly release: Release;
  readonly epoch: number;
  readonly tools: string;
  readonly guestPackage: GuestPackage;
  readonly modules: readonly Module[];
}

/**
 * The digest of the system as module debian leaves it, and that of the whole image. Not in them: the driver, the
 * proxies, the folder, the size and kernel of the host.
 */
export async function buildKeys(
  from: Ingredients,
): Promise<{ readonly base: string; readonly image: string }> {
  const [library, mmdebstrap, tools] = await Promise.all([
    readFolder(packageFile('image', 'build')),
    run('mmdebstrap', ['--version']),
    toolVersions(from.tools),
  ]);
  const parts = await Promise.all(
    from.modules.map(
      async (module) =>
        [
          module.name,
          digestOf([
            ['program', await readFile(module.file)],
            ['options', JSON.stringify(Object.entries(module.options).sort())],
          ]),
        ] as const,
    ),
  );
  const general = [
    ['architecture', process.arch],
    ['epoch', String(from.epoch)],
    ['packages', from.release.digest],
    ['mmdebstrap', mmdebstrap.stdout],
    ['library', library],
  ] as const;
  const untilDebian = parts.slice(0, from.modules.findIndex((module) => module.name === 'debian') + 1);
  const base = digestOf([...general, ...untilDebian]);
  const image = digestOf([
    ...general,
    ...parts,
    ['apppot', from.guestPackage.digest],
    ['facts', `${from.release.asked} ${from.settings.packageSet}`],
    ['size', `${from.settings.fileSystem} ${from.settings.sizeMebibytes}`],
    ['tools', tools],
    ...from.settings.scripts.map((script) => [`script ${script.name}`, script.content] as const),
  ]);
  return { base, image };
}

async function readFolder(folder: string): Promise<string> {
  const names = (await readdir(folder)).sort();
  return digestOf(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)),
  );
}
