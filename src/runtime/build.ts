/** Builds a runtime: fetches the sources, runs the build scripts, and puts the result in place in one step. */
import { lstat, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../config/paths.ts';
import { findMirrors, proxyEnvironment } from '../config/mirrors.ts';
import type { Progress } from '../progress.ts';
import { run } from '../process/run.ts';
import { compile, workBase } from './compile.ts';
import { inputsDigest, textDigest } from './digest.ts';
import { privateApt, type Fetched, type PrivateApt } from './fetch.ts';
import { rememberedFolder, readManifest, runtimesFolder, useFolder } from './folder.ts';
import { withLock } from './lock.ts';
import { givenSource, sourceKey } from './source.ts';
import { requireBuildTools } from './tools.ts';

/** What {@link buildRuntime} takes. */
export interface BuildOptions {
  /** Tarball of the kernel's source; by default Debian's newest is fetched. */
  readonly source?: string | undefined;
  /** Debian mirror; by default the host's own, else Debian's default one. */
  readonly mirror?: string | undefined;
  /** Parallel compilers; all CPUs by default. */
  readonly jobs?: number | undefined;
  /** Look whether the mirror has a newer source than the runtime was built from. */
  readonly update?: boolean;
  /** Build even if there is a runtime of the same sources. */
  readonly force?: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Where the runtime is, and whether it had to be built. */
export interface BuildResult {
  readonly folder: string;
  readonly built: boolean;
}

/** Prefix of folders that a build works in; what a killed build left is removed by the next one. */
const TEMPORARY = '.build-';

/**
 * Builds the runtime of this version of AppPot in the user's cache and makes it the one in use. Returns at once, and
 * starts no program, when it is there already.
 *
 * @throws ApppotError `missing-tool`, `mirror`, `runtime-source` for a source that cannot be used, `runtime-build`
 *   with the log's path, `interrupted`
 */
export async function buildRuntime(options: BuildOptions): Promise<BuildResult> {
  const inputs = inputsDigest();
  const key = textDigest(inputs, options.source === undefined ? '' : await sourceKey(options.source));
  const isWanted = options.force !== true && options.update !== true;
  const known = isWanted ? await rememberedFolder(key) : undefined;
  if (known !== undefined) {
    await useFolder(known, key);
    return { folder: known, built: false };
  }
  await requireBuildTools();
  const base = runtimesFolder();
  await mkdir(base, { recursive: true, mode: 0o700 });
  return withLock(
    join(base, '.lock'),
    options.signal,
    (owner) => {
      options.progress.note(`Waiting for another build of the runtime (process ${owner}).`);
    },
    async () => {
      const other = isWanted ? await rememberedFolder(key) : undefined;
      if (other !== undefined) {
        await useFolder(other, key);
        return { folder: other, built: false };
      }
      return lockedBuild(options, inputs, key);
    },
  );
}

async function lockedBuild(options: BuildOptions, inputs: string, key: string): Promise<BuildResult> {
  const { progress, signal } = options;
  const base = runtimesFolder();
  const workParent = workBase(base);
  await removeLeftovers(base, TEMPORARY);
  // Elsewhere other caches' builds may be at work: the name tells whose folder it is.
  const prefix = workParent === base ? TEMPORARY : `apppot-runtime-${textDigest(base)}-`;
  if (workParent !== base) await removeLeftovers(workParent, prefix);
  const work = await mkdtemp(join(workParent, prefix));
  try {
    const { kernel, library } = await progress.step('Fetch sources', async (step) => {
      const apt = await startApt(options, join(work, 'apt'));
      step.update('kernel');
      const found =
        options.source === undefined ? await apt.kernelSource() : await givenSource(options.source);
      step.update('libslirp');
      return { kernel: found, library: await apt.librarySource() };
    });
    const compiler = (await run('gcc', ['--version'], { signal })).stdout.split('\n')[0] ?? '';
    const sources = [kernel, library.original, library.debian].map(({ name, version, sha256 }) => ({
      name,
      version,
      sha256,
    }));
    const digest = textDigest(inputs, JSON.stringify(sources.map(({ sha256 }) => sha256)), compiler);
    const folder = join(base, digest);
    if (options.force !== true && (await readManifest(folder)) !== undefined) {
      await useFolder(folder, key);
      return { folder, built: false };
    }
    const output = await mkdtemp(join(base, TEMPORARY));
    try {
      const request = { work, output, kernel: await kernelTarball(kernel, work, signal), library };
      const force = options.force === true;
      const facts = { digest, inputs, sources, compiler };
      await compile({ ...request, ...facts, force, jobs: options.jobs, progress, signal });
      await replaceFolder(output, folder);
    } finally {
      await rm(output, { recursive: true, force: true });
    }
    await useFolder(folder, key);
    return { folder, built: true };
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 2 });
  }
}

async function startApt(options: BuildOptions, folder: string): Promise<PrivateApt> {
  const mirrors = await findMirrors(options.mirror, options.signal);
  const environment = await proxyEnvironment(options.signal);
  await mkdir(folder, { recursive: true });
  return privateApt(folder, cacheFolder('sources'), mirrors.archive, environment, options.signal);
}

/** The tarball itself: the one given, or the one inside of Debian's package. */
async function kernelTarball(kernel: Fetched, work: string, signal: AbortSignal): Promise<string> {
  if (!kernel.file.endsWith('.deb')) return kernel.file;
  const unpacked = join(work, 'deb');
  await run('dpkg-deb', ['-x', kernel.file, unpacked], { signal });
  return join(unpacked, 'usr', 'src', `${kernel.name}.tar.xz`);
}

async function replaceFolder(from: string, to: string): Promise<void> {
  const old = `${from}.old`;
  await rename(to, old).catch(() => undefined);
  await rename(from, to);
  await rm(old, { recursive: true, force: true });
}

/** Removes what killed builds left. Called while the lock is held, so nobody works there. */
async function removeLeftovers(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(folder, name);
    // In a folder like /tmp anybody may have made one of that name.
    if ((await lstat(path)).uid !== process.getuid?.()) continue;
    await rm(path, { recursive: true, force: true, maxRetries: 2 });
  }
}
