import { access, constants, readFile, statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { ApppotError } from '../errors.ts';
import { run } from '../process/run.ts';
import { findRuntime } from '../runtime/find.ts';
import { inspectRuntime } from '../runtime/inspect.ts';
import { requireBuildTools } from '../runtime/tools.ts';

/** What one look at this machine found. */
export interface Check {
  /** Short and stable, for --json. */
  readonly name: string;
  /** "no" stops something from working; "slow" only costs time, safety or comfort. */
  readonly state: 'ok' | 'slow' | 'no';
  readonly found: string;
  /** What to do about it. */
  readonly remedy?: string;
}

/** Mappings of one process that Linux allows by default. */
const COMMON_MAP_COUNT = 65_530;
/** The smallest room for guest memory that is comfortable, in bytes. */
const COMFORTABLE_MEMORY = 1024 ** 3;

/**
 * Looks at what this machine can do for running guests and building images. Every check stands alone: one that
 * cannot be made says so and the others go on.
 */
export async function examine(signal: AbortSignal): Promise<readonly Check[]> {
  const checks = [
    checkRuntime,
    checkConfinement,
    checkNamespaces,
    checkMemory,
    checkMappings,
    checkProcessors,
    checkTools,
  ];
  return Promise.all(
    checks.map(async (check) => {
      try {
        return await check(signal);
      } catch (error) {
        signal.throwIfAborted();
        return {
          name: check.name,
          state: 'no',
          found: error instanceof Error ? error.message : String(error),
        } as const;
      }
    }),
  );
}

async function checkRuntime(signal: AbortSignal): Promise<Check> {
  const remedy = 'apppot runtime build';
  try {
    const runtime = await findRuntime();
    const { kernelVersion, capabilities } = await inspectRuntime(runtime, signal);
    const found = `${runtime.kernel} (${kernelVersion}, ${capabilities.seccomp ? 'seccomp' : 'ptrace'})`;
    return runtime.origin === 'distribution'
      ? { name: 'runtime', state: 'slow', found, remedy }
      : { name: 'runtime', state: 'ok', found };
  } catch (error) {
    if (error instanceof ApppotError) return { name: 'runtime', state: 'no', found: error.message, remedy };
    throw error;
  }
}

/** Landlock is listed among the security modules; where that file is hidden, the kernel's version has to do. */
async function checkConfinement(): Promise<Check> {
  const modules = await readFile('/sys/kernel/security/lsm', 'utf8').catch(() => '');
  const release = (await readFile('/proc/sys/kernel/osrelease', 'utf8')).trim();
  const [major = 0, minor = 0] = release.split('.').map(Number);
  if (modules.split(',').includes('landlock')) {
    return { name: 'confinement', state: 'ok', found: `Landlock (Linux ${release})` };
  }
  if (modules === '' && (major > 5 || (major === 5 && minor >= 13))) {
    return {
      name: 'confinement',
      state: 'ok',
      found: `Linux ${release} may have Landlock; it is used where it is`,
    };
  }
  return {
    name: 'confinement',
    state: 'slow',
    found: `no Landlock (Linux ${release}): the guest's kernel can reach what you can reach`,
    remedy: 'Run only images that you trust.',
  };
}

async function checkNamespaces(signal: AbortSignal): Promise<Check> {
  const works = await run('unshare', ['--user', '--map-root-user', 'true'], { signal }).then(
    () => true,
    () => false,
  );
  if (works || process.getuid?.() === 0) {
    return { name: 'namespaces', state: 'ok', found: 'images can be built at full speed (driver unshare)' };
  }
  return {
    name: 'namespaces',
    state: 'slow',
    found: 'no user namespaces: images are built in a guest (driver uml), about four times slower',
  };
}

async function checkMemory(): Promise<Check> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const available = Number(/^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
  const shared = await statfs('/dev/shm').catch(() => undefined);
  const room = shared === undefined ? 0 : shared.bavail * shared.bsize;
  const found = `${mebibytes(available)} MB free, ${mebibytes(room)} MB of it as shared memory`;
  return available < COMFORTABLE_MEMORY
    ? {
        name: 'memory',
        state: 'slow',
        found,
        remedy: 'End other programs, or give guests little with --mem.',
      }
    : { name: 'memory', state: 'ok', found };
}

async function checkMappings(): Promise<Check> {
  const limit = Number(await readFile('/proc/sys/vm/max_map_count', 'utf8'));
  const found = `vm.max_map_count is ${limit}`;
  const own = await findRuntime().then(
    ({ origin }) => origin === 'built',
    () => false,
  );
  // AppPot's kernel drops mappings when the host has no more, see docs/kernel.md.
  return own || limit > COMMON_MAP_COUNT
    ? { name: 'mappings', state: 'ok', found }
    : {
        name: 'mappings',
        state: 'slow',
        found: `${found}: with the distribution's kernel, programs that use much scattered memory fail`,
        remedy: 'apppot runtime build',
      };
}

function checkProcessors(): Promise<Check> {
  const count = availableParallelism();
  return Promise.resolve({
    name: 'processors',
    state: 'ok',
    found: `${count} for this process; in a guest, threads of one process share one`,
  });
}

async function checkTools(): Promise<Check> {
  await access('/usr/bin/mmdebstrap', constants.X_OK).catch(() => {
    throw new ApppotError('missing-tool', 'mmdebstrap is not installed: no images can be built here');
  });
  await requireBuildTools();
  return { name: 'tools', state: 'ok', found: 'runtime and images can be built here' };
}

function mebibytes(bytes: number): string {
  return String(Math.round(bytes / 1024 ** 2));
}
