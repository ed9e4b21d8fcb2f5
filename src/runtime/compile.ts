/** Runs the build scripts of image/ and fills the folder of a new runtime. */
import { chmod, copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import { run } from '../process/run.ts';
import type { Progress, Step } from '../progress.ts';
import { fileDigest, kernelInputsDigest, textDigest } from './digest.ts';
import type { FetchedLibrary } from './fetch.ts';
import { folderWithKernels, runtimesFolder } from './folder.ts';
import { probeKernel } from './probe.ts';
import type { Manifest, Source } from './types.ts';

/** Everything that a build needs, fetched already. */
export interface CompileRequest {
  /** Private folder to work in, without blanks in its path. */
  readonly work: string;
  /** Empty folder that becomes the runtime. */
  readonly output: string;
  readonly kernel: string;
  readonly library: FetchedLibrary;
  readonly jobs: number | undefined;
  readonly digest: string;
  readonly inputs: string;
  readonly sources: readonly Source[];
  readonly compiler: string;
  /** Compile the kernels also when an earlier runtime has the same. */
  readonly force: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Files of both flavours that are compiled, for the percentage; roughly, it differs with the version. */
const FILES = 2540;

/**
 * Where to build: the kernel's make cannot stand blanks and colons in a path, so a cache folder with one is left for
 * a temporary folder.
 */
export function workBase(cache: string): string {
  if (!/[\s:]/.test(cache)) return cache;
  return /[\s:]/.test(tmpdir()) ? '/var/tmp' : tmpdir();
}

/**
 * Builds kernels, helper and guest runner into `output` and writes its manifest last.
 *
 * @throws ApppotError `runtime-build` or `runtime-source`; the log is kept and named in the hint
 */
export async function compile(request: CompileRequest): Promise<void> {
  const { work, output, library, progress } = request;
  const log = join(work, 'build.log');
  const script = async (name: string, args: readonly string[], step: Step): Promise<void> =>
    runScript(request, log, packageFile('image', name, 'build.sh'), args, step);
  await progress.step('Build slirp and the guest runner', async (step) => {
    const folder = join(work, 'slirp');
    await mkdir(folder);
    const sources = ['--libslirp', library.original.file, '--debian', library.debian.file];
    await script('slirp', [...sources, '--work', folder, '--output', join(output, 'slirp')], step);
    await script('guest', ['--output', join(output, 'apppot-guest')], step);
    await script('snap', ['--output', join(output, 'apppot-snap')], step);
  });
  const kernels = textDigest(kernelInputsDigest(), request.sources[0]?.sha256 ?? '', request.compiler);
  await progress.step('Build the kernels', async (step) => {
    if (!request.force && (await reuseKernels(kernels, output))) {
      step.skip('those of an earlier runtime are the same');
      return;
    }
    const folder = join(work, 'kernel');
    await mkdir(folder);
    const jobs = request.jobs === undefined ? [] : ['--jobs', String(request.jobs)];
    await script('kernel', ['--source', request.kernel, '--work', folder, '--output', output, ...jobs], step);
  });
  await copyFile(packageFile('image', 'host', 'apppot-start'), join(output, 'apppot-start'));
  await chmod(join(output, 'apppot-start'), 0o755);
  await chmod(output, 0o755);
  await writeManifest(request, kernels);
}

/** Takes the kernels of an earlier runtime that were made from the same; false when there are none, or not as they were. */
async function reuseKernels(kernels: string, output: string): Promise<boolean> {
  const found = await folderWithKernels(kernels);
  if (found === undefined) return false;
  const { folder, manifest } = found;
  for (const name of ['linux', 'linux-smp']) {
    await copyFile(join(folder, name), join(output, name));
    if ((await fileDigest(join(output, name))) !== manifest.files[name]) return false;
  }
  await writeFile(join(output, 'linux.version'), `${manifest.kernelVersion}\n`);
  return true;
}

async function runScript(
  { signal, progress }: CompileRequest,
  log: string,
  file: string,
  args: readonly string[],
  step: Step,
): Promise<void> {
  let phase = '';
  let count = 0;
  const onLine = (line: string): void => {
    if (line.startsWith('== ')) {
      phase = line.slice(3);
      count = 0;
      step.update(phase);
    } else if (/^ {2}(CC|AS|LD|AR) /.test(line) && ++count % 20 === 0) {
      step.update(`${phase} ${Math.min(99, Math.floor((100 * count) / FILES))} %`);
    }
  };
  const okCodes = [0, 1, 2, 3, 4, 5, 6];
  const result = await run('/bin/sh', [file, ...args], { okCodes, logFile: log, onLine, signal });
  if (result.exitCode === 0) return;
  const kept = join(runtimesFolder(), 'build.log');
  await copyFile(log, kept);
  const lines = result.stderr.trimEnd().split('\n');
  const reason = lines.findLast((line) => line.startsWith('build.sh: '))?.slice('build.sh: '.length);
  progress.debug(lines.slice(-20).join('\n'));
  throw new ApppotError(
    result.exitCode === 4 ? 'runtime-source' : result.exitCode === 3 ? 'missing-tool' : 'runtime-build',
    reason === undefined
      ? `Building the runtime failed:\n${lines.slice(-5).join('\n')}`
      : `Building the runtime failed: ${reason}.`,
    { hint: `The whole log: ${kept}` },
  );
}

async function writeManifest(request: CompileRequest, kernels: string): Promise<void> {
  const { output } = request;
  const names = ['linux', 'linux-smp', 'slirp', 'apppot-start', 'apppot-guest', 'apppot-snap'];
  const digests = await Promise.all(
    names.map(async (name): Promise<[string, string]> => [name, await fileDigest(join(output, name))]),
  );
  const kernelVersion = (await readFile(join(output, 'linux.version'), 'utf8')).trim();
  await rm(join(output, 'linux.version'));
  const { capabilities } = await probeKernel(join(output, 'linux'), request.signal);
  const manifest: Manifest = {
    format: 1,
    digest: request.digest,
    inputs: request.inputs,
    kernels,
    sources: request.sources,
    compiler: request.compiler,
    kernelVersion,
    capabilities: { ...capabilities, smp: true },
    files: Object.fromEntries(digests),
  };
  const file = join(output, 'manifest.json');
  await writeFile(`${file}.new`, `${JSON.stringify(manifest, null, 2)}\n`);
  await rename(`${file}.new`, file);
}
