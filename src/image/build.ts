/** Builds an image: settings, mirror, cache, driver, modules, and one file at the end. */
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder, packageFile } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import type { Progress } from '../progress.ts';
import { baseTarPath, keepImage, takeImage } from './cache.ts';
import { chooseDriver } from './drivers/choose.ts';
import type { Driver, DriverName, Plan } from './drivers/driver.ts';
import type { BuildRuntime } from './drivers/uml.ts';
import { explainFailure } from './failure.ts';
import { buildGuestPackage, type GuestPackage } from './guest-package.ts';
import { buildKeys } from './keys.ts';
import { findMirrors, proxyEnvironment, type Mirrors } from '../config/mirrors.ts';
import type { Module } from './modules.ts';
import { openOutput, type Output } from './output.ts';
import { findRelease, type Release } from './release.ts';
import { copyFiles, keepScratch, makeScratch, removeFolder } from './scratch.ts';
import { readSettings, type BuildRequest, type Settings } from './settings.ts';
import { waitForModules } from './status.ts';
import { settleSuperblocks } from './superblock.ts';
import { findTools } from './tools.ts';

/** How to build, beside what to build. */
export interface BuildOptions {
  /** Where the image goes. */
  readonly output: string;
  readonly force: boolean;
  /** $WORKDIR of the modules. */
  readonly workFolder: string;
  /** Build with this driver; undefined: the first that works. */
  readonly driver?: DriverName | undefined;
  readonly noCache: boolean;
  /** Keep the scratch folder. */
  readonly keep: boolean;
  /** Stop before anything is built. */
  readonly dryRun: boolean;
  /** The runtime for driver uml, or one sentence why there is none. */
  readonly runtime: () => Promise<BuildRuntime | string>;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** What was built, or would be. */
export interface BuildResult {
  readonly image: string;
  readonly release: string;
  readonly codename: string;
  readonly sources: readonly string[];
  readonly packages: readonly string[];
  readonly modules: readonly string[];
  readonly driver: DriverName;
  readonly configFiles: readonly string[];
  readonly sizeMebibytes: number;
  /** Bytes that the file takes on disk; 0 with dryRun. */
  readonly usedBytes: number;
  /** Digest of the base manifest; empty with dryRun. */
  readonly baseId: string;
  readonly cached: boolean;
  readonly seconds: number;
}

/** Everything that is known before the modules run. */
interface Prepared {
  readonly settings: Settings;
  readonly mirrors: Mirrors;
  readonly release: Release;
  readonly proxies: Readonly<Record<string, string>>;
  readonly epoch: number;
  readonly tools: string;
  readonly guestPackage: GuestPackage;
  readonly modules: readonly Module[];
}

/**
 * Builds an image and puts it at `options.output`, complete or not at all.
 *
 * @throws ApppotError `usage`, `config`, `config-syntax`, `exists`, `not-found`, `permission`, `mirror`,
 *   `driver-unavailable`, `script-failed`, `module-failed`, `image-full`, `image-build`, `no-space`, `interrupted`
 */
export async function buildImage(request: BuildRequest, options: BuildOptions): Promise<BuildResult> {
  const started = performance.now();
  const settings = await readSettings(request);
  warnAboutModules(settings, options.progress);
  const output = await openOutput(options.output, options.force || options.dryRun);
  let driver: Driver | undefined;
  let finished = false;
  const scratch = await makeScratch((folder) => removeAnywhere(folder));
  try {
    const prepared = await prepare(settings, scratch, options);
    const keys = await buildKeys(prepared);
    const result = (used: number, baseId: string, cached: boolean): BuildResult =>
      summary(prepared, options, driver?.name ?? 'unshare', { used, baseId, cached, started }, output);
    driver = await chooseDriver(options.driver, options.runtime);
    if (options.dryRun) return result(0, '', false);
    const cached = options.noCache
      ? undefined
      : await options.progress.step('Looking for the same image in the cache', async (step) => {
          const facts = await takeImage(keys.image, output.temporary, options.signal);
          if (facts === undefined) step.skip('not there');
          return facts;
        });
    const facts = cached ?? (await runModules(prepared, keys.base, driver, scratch, output, options));
    const used = (await stat(output.temporary)).blocks * 512;
    if (cached === undefined) await keepImage(keys.image, output.temporary, facts, options.signal);
    options.signal.throwIfAborted();
    await output.commit();
    finished = true;
    return result(used, facts.baseId, cached !== undefined);
  } finally {
    if (!finished) await output.discard();
    if (options.keep) {
      await keepScratch(scratch);
      options.progress.note(`The scratch folder is kept: ${scratch}`);
    } else await (driver?.remove ?? removeFolder)(scratch);
  }
}

/** A scratch folder of an earlier build, whichever driver made it. */
async function removeAnywhere(folder: string): Promise<void> {
  const { unshareDriver } = await import('./drivers/unshare.ts');
  await removeFolder(folder).catch(async () => unshareDriver.remove(folder));
}

function warnAboutModules(settings: Settings, progress: Progress): void {
  for (const name of ['debian', 'apppot', 'umount'])
    if (!settings.modules.some((module) => module.name === name))
      progress.note(`The configuration does not run module ${name}: the result may be no AppPot image.`);
}

async function prepare(settings: Settings, scratch: string, options: BuildOptions): Promise<Prepared> {
  const { progress, signal } = options;
  const [mirrors, proxies] = await Promise.all([
    findMirrors(settings.mirror, signal),
    proxyEnvironment(signal),
  ]);
  return progress.step(`Asking the mirror for Debian ${settings.release}`, async (step) => {
    const packageFolder = join(scratch, 'package');
    await mkdir(packageFolder);
    const [release, tools, guestPackage] = await Promise.all([
      findRelease({
        asked: settings.release,
        mirrors,
        sources: settings.sources,
        folder: scratch,
        environment: proxies,
        signal,
        note: (text) => {
          progress.note(text);
        },
      }),
      findTools(mirrors, proxies, signal),
      buildGuestPackage(packageFolder, signal),
    ]);
    step.update(release.codename);
    return {
      settings,
      mirrors,
      release,
      proxies,
      epoch: epochOf(release),
      tools,
      guestPackage,
      modules: settings.modules.map((module) => withRelease(module, settings, mirrors, release)),
    };
  });
}

/** SOURCE_DATE_EPOCH of the environment, else the date of the release. */
function epochOf(release: Release): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given === undefined || given === '') return release.date;
  if (/^\d{1,11}$/.test(given)) return Number(given);
  throw new ApppotError('usage', `SOURCE_DATE_EPOCH is "${given}".`, {
    hint: 'It has to be a number of seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch).',
  });
}

/** The options of module debian with names made exact. */
function withRelease(module: Module, settings: Settings, mirrors: Mirrors, release: Release): Module {
  if (module.name !== 'debian') return module;
  return {
    ...module,
    options: {
      ...module.options,
      dist: release.codename,
      mirror: mirrors.archive,
      sources: release.sources.join('\n'),
      install: settings.packages.join(' '),
      include: '',
    },
  };
}

async function runModules(
  prepared: Prepared,
  baseKey: string,
  driver: Driver,
  scratch: string,
  output: Output,
  options: BuildOptions,
): Promise<{ readonly baseId: string }> {
  const plan = await writePlan(prepared, baseKey, scratch, output, options);
  try {
    const work = driver.build(plan);
    work.catch(() => undefined);
    let count = 0;
    for (const module of plan.modules) {
      count += 1;
      const ended = await options.progress.step(`${driver.name}: module ${module.name}`, () =>
        waitForModules(plan.statusFile, count, work),
      );
      if (!ended) break;
    }
    await work;
  } catch (error) {
    throw await failedBuild(error, prepared, plan);
  }
  const explained = await failedBuild(undefined, prepared, plan);
  if (explained instanceof ApppotError) throw explained;
  await settleSuperblocks(plan.image);
  const log = await readFile(plan.logFile, 'utf8');
  return { baseId: /^base ([0-9a-f]{64})$/m.exec(log)?.[1] ?? '' };
}

/** The better explanation of a failed driver: what its modules said. The log moves to where it stays. */
async function failedBuild(error: unknown, prepared: Prepared, plan: Plan): Promise<unknown> {
  if (plan.signal.aborted) return plan.signal.reason ?? error;
  const kept = cacheFolder('log', 'build-image.log');
  await mkdir(cacheFolder('log'), { recursive: true });
  await copyFile(plan.logFile, kept).catch(() => undefined);
  const explained = await explainFailure({
    statusFile: plan.statusFile,
    logFile: kept,
    codename: prepared.release.codename,
    sizeMebibytes: prepared.settings.sizeMebibytes,
  });
  return explained ?? error;
}

async function writePlan(
  prepared: Prepared,
  baseKey: string,
  scratch: string,
  output: Output,
  options: BuildOptions,
): Promise<Plan> {
  const { settings, release } = prepared;
  const modules: Module[] = [];
  for (const folder of ['modules', 'scripts', 'target']) await mkdir(join(scratch, folder));
  await copyFiles(packageFile('image', 'build'), join(scratch, 'lib'));
  await copyFile(prepared.guestPackage.file, join(scratch, 'apppot.deb'));
  for (const module of prepared.modules) {
    const file = join(scratch, 'modules', module.name);
    await copyFile(module.file, file);
    modules.push({ ...module, file });
  }
  for (const [index, script] of settings.scripts.entries()) {
    const name = `${String(index + 1).padStart(3, '0')}-${script.name}`;
    await writeFile(join(scratch, 'scripts', name), script.content, { mode: 0o700 });
  }
  const logFile = join(scratch, 'log');
  await writeFile(logFile, '');
  return {
    scratch,
    modules,
    workFolder: options.workFolder,
    image: output.temporary,
    sizeMebibytes: settings.sizeMebibytes,
    environment: {
      ...prepared.proxies,
      SOURCE_DATE_EPOCH: String(prepared.epoch),
      fstype: settings.fileSystem,
      initialsize: String(settings.sizeMebibytes),
      APPPOT_TOOLS: prepared.tools,
      APPPOT_CODENAME: release.codename,
      APPPOT_RELEASE: release.asked,
      APPPOT_PACKAGES: settings.packageSet,
    },
    paths: {
      APPPOT_SCRATCH: scratch,
      APPPOT_IMAGE: output.temporary,
      ...(options.noCache ? {} : { APPPOT_BASE_TAR: await baseTarPath(baseKey) }),
    },
    logFile,
    statusFile: join(scratch, 'status'),
    signal: options.signal,
  };
}

function summary(
  prepared: Prepared,
  options: BuildOptions,
  driver: DriverName,
  end: { readonly used: number; readonly baseId: string; readonly cached: boolean; readonly started: number },
  output: Output,
): BuildResult {
  const { settings, release } = prepared;
  return {
    image: output.path,
    release: release.asked,
    codename: release.codename,
    sources: release.sources,
    packages: settings.packages,
    modules: settings.modules.map((module) => module.name),
    driver,
    configFiles: settings.files,
    sizeMebibytes: settings.sizeMebibytes,
    usedBytes: end.used,
    baseId: end.baseId,
    cached: end.cached,
    seconds: (performance.now() - end.started) / 1000,
  };
}
