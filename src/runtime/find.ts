import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { cacheFolder, packageFile } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';

/** The parts that a launch needs, and where they came from. */
export interface Runtime {
  /** The folder of a built runtime. */
  readonly folder?: string;
  /** User-Mode Linux for one processor. */
  readonly kernel: string;
  /** The same for several. */
  readonly kernelSmp?: string;
  /** Supervisor and network; without it apppot-start does what sh can do alone. */
  readonly helper?: string;
  /** apppot-start. */
  readonly start: string;
  /** The static guest runner, which goes into images. */
  readonly guest?: string;
  /** apppot-snap: static, runs here and in any guest. */
  readonly snap?: string;
  readonly origin: 'built' | 'distribution' | 'given';
}

/** Parts that the user names. */
export interface RuntimeRequest {
  readonly kernel?: string | undefined;
  readonly helper?: string | undefined;
}

/** Folders that may hold a whole runtime, in the order in which they are looked at. */
export function runtimeFolders(): readonly string[] {
  const named = process.env['APPPOT_RUNTIME'];
  return [
    ...(named === undefined || named === '' ? [] : [named]),
    cacheFolder('runtime', 'current'),
    '/usr/lib/apppot/runtime',
  ];
}

/**
 * Finds the parts of a launch: those that the user names, a built runtime (APPPOT_RUNTIME, the cache, a
 * system-wide one), the distribution's kernel.
 *
 * @throws ApppotError `runtime-missing` when there is no kernel at all
 */
export async function findRuntime(request: RuntimeRequest = {}): Promise<Runtime> {
  const built = await findBuilt();
  const { kernel, helper } = request;
  if (kernel !== undefined || helper !== undefined) {
    return {
      ...(built ?? { start: packageFile('image', 'host', 'apppot-start') }),
      kernel: kernel ?? built?.kernel ?? (await distributionKernel()),
      ...(helper === undefined ? {} : { helper }),
      origin: 'given',
    };
  }
  return (
    built ?? {
      kernel: await distributionKernel(),
      start: packageFile('image', 'host', 'apppot-start'),
      origin: 'distribution',
    }
  );
}

/** The first folder that holds a whole runtime. */
async function findBuilt(): Promise<Runtime | undefined> {
  for (const folder of runtimeFolders()) {
    if (!(await isProgram(join(folder, 'linux')))) continue;
    const [kernelSmp, guest] = [join(folder, 'linux-smp'), join(folder, 'apppot-guest')];
    const snap = join(folder, 'apppot-snap');
    return {
      folder,
      kernel: join(folder, 'linux'),
      helper: join(folder, 'slirp'),
      start: join(folder, 'apppot-start'),
      ...((await isProgram(kernelSmp)) ? { kernelSmp } : {}),
      ...((await isProgram(guest)) ? { guest } : {}),
      ...((await isProgram(snap)) ? { snap } : {}),
      origin: 'built',
    };
  }
  return undefined;
}

async function distributionKernel(): Promise<string> {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin']) {
    const file = join(folder, 'linux.uml');
    if (folder.startsWith('/') && (await isProgram(file))) return file;
  }
  throw new ApppotError('runtime-missing', 'There is no User-Mode Linux kernel.', {
    hint: 'Build one with "apppot runtime build", or install the Debian package user-mode-linux.',
  });
}

async function isProgram(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
