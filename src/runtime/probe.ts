/** Asks a kernel what it can do, once per file: the answers are kept with the file's identity. */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import { run } from '../process/run.ts';
import { textDigest } from './digest.ts';
import type { Capabilities } from './types.ts';

/** What a kernel answered. */
export interface Probe {
  readonly kernelVersion: string;
  readonly capabilities: Capabilities;
}

/**
 * What a User-Mode Linux kernel can do, from its own --version, --help and --showconfig. The second call for an
 * unchanged file starts no program.
 *
 * @param kernel path of the kernel
 * @throws ApppotError `runtime-missing` when there is no such file or it is no User-Mode Linux kernel
 */
export async function probeKernel(kernel: string, signal: AbortSignal): Promise<Probe> {
  const status = await stat(kernel).catch((error: unknown) => {
    throw new ApppotError('runtime-missing', `There is no kernel ${kernel}.`, { cause: error });
  });
  const identity = [kernel, status.dev, status.ino, status.size, status.mtimeMs, status.ctimeMs].join(' ');
  const file = join(cacheFolder('probes'), `${textDigest('1', identity)}.json`);
  const known = await readFile(file, 'utf8').catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as Probe;
  const probe = await ask(kernel, signal);
  await keep(file, probe).catch(() => undefined);
  return probe;
}

async function ask(kernel: string, signal: AbortSignal): Promise<Probe> {
  const answer = async (option: string): Promise<string> => {
    // --version and --help of a kernel end with 0 or 1, depending on its version.
    const result = await run(kernel, [option], { okCodes: [0, 1], signal });
    return result.stdout + result.stderr;
  };
  const version = (await answer('--version').catch(() => '')).trim().split('\n')[0] ?? '';
  const help = await answer('--help').catch(() => '');
  if (!/^\d+\.\d+/.test(version) || !help.includes('ubd')) {
    throw new ApppotError('runtime-missing', `${kernel} is not a User-Mode Linux kernel.`, {
      hint: 'Build one with "apppot runtime build".',
    });
  }
  const config = await answer('--showconfig').catch(() => '');
  const has = (symbol: string): boolean => config.split('\n').includes(`CONFIG_${symbol}=y`);
  return {
    kernelVersion: version,
    capabilities: {
      seccomp: /^seccomp=/m.test(help),
      smp: /^ncpus=/m.test(help),
      transport:
        has('UML_NET_VECTOR') && !has('UML_NET_SLIRP') ? 'vector' : has('UML_NET_SLIRP') ? 'slirp' : 'none',
      confinedHostfs: /^hostfs_bind=/m.test(help),
    },
  };
}

async function keep(file: string, probe: Probe): Promise<void> {
  await mkdir(cacheFolder('probes'), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, JSON.stringify(probe));
  await rename(temporary, file);
}
