/**
 * Driver `uml`: a guest of User-Mode Linux whose root file system is the host's. It needs nothing of the host, neither
 * name spaces nor ptrace nor KVM, and is about four times slower than the host itself.
 */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../../errors.ts';
import { run } from '../../process/run.ts';
import { removeFolder } from '../scratch.ts';
import { endedModules } from '../status.ts';
import type { Driver, Plan } from './driver.ts';
import { writeSteps } from './steps.ts';

/** The two programs of the runtime that a build needs. */
export interface BuildRuntime {
  /** The kernel. */
  readonly linux: string;
  /** The supervisor with its network. */
  readonly slirp: string;
}

/** Memory of the guest in megabytes: apt's lists, dpkg's database, and pages of the scratch disk. */
const MEMORY = 1024;

/**
 * The driver.
 *
 * @param find finds the runtime, or says why there is none
 */
export function umlDriver(find: () => Promise<BuildRuntime | string>): Driver {
  return {
    name: 'uml',
    reasonAgainst: async () => {
      const runtime = await find();
      return typeof runtime === 'string' ? runtime : undefined;
    },
    build: async (plan) => {
      const runtime = await find();
      if (typeof runtime === 'string') throw new ApppotError('runtime-missing', runtime);
      await build(plan, runtime);
    },
    remove: removeFolder,
  };
}

async function build(plan: Plan, runtime: BuildRuntime): Promise<void> {
  // The kernel's command line knows quotes but no escapes (lib/cmdline.c, next_arg).
  if (/["\n]/.test(plan.scratch))
    throw new ApppotError('usage', `The scratch folder ${plan.scratch} has a quote in its name.`, {
      hint: 'Set TMPDIR to a folder with a plain name.',
    });
  const { environment, usesLoopback } = throughGateway(plan.environment);
  await writeSteps(
    { ...plan, environment },
    { driver: 'uml', host: '/run/host', writable: (path) => `/run/host${path}` },
  );
  await makeSparse(join(plan.scratch, 'scratch.disk'), plan.sizeMebibytes * 2 + 1024);
  const kernelArguments = [
    `mem=${MEMORY}M`,
    ...(await speedArguments(runtime.linux)),
    'rootfstype=hostfs',
    'rootflags=/',
    'ro',
    'quiet',
    'ubd0=scratch.disk',
    `init="${join(plan.scratch, 'lib', 'uml-init')}"`,
    `APPPOT_SCRATCH="${plan.scratch}"`,
  ];
  const console = join(plan.scratch, 'console');
  const helperArguments = [
    '--plain',
    '--network',
    'user',
    ...(usesLoopback ? ['--host-loopback'] : []),
    '--pin',
    '--console',
    console,
  ];
  await run(runtime.slirp, [...helperArguments, '--', runtime.linux, ...kernelArguments], {
    cwd: plan.scratch,
    // The kernel ends with a code of its own; the status file tells how the modules ended.
    okCodes: Array.from({ length: 126 }, (_, code) => code),
    signal: plan.signal,
  });
  if ((await endedModules(plan.statusFile)).length === 0)
    throw new ApppotError('launch', 'The guest that builds the image did not start.', {
      hint: `Its console said:\n${await consoleTail(console)}`,
    });
}

/** A proxy on this machine's loopback is the gateway in the guest, once the helper lets it be reached. */
export function throughGateway(from: Readonly<Record<string, string>>): {
  readonly environment: Readonly<Record<string, string>>;
  readonly usesLoopback: boolean;
} {
  let usesLoopback = false;
  const environment = Object.fromEntries(
    Object.entries(from).map(([name, value]) => {
      if (!/^(https?|ftp)_proxy$/.test(name)) return [name, value];
      const changed = value.replace(
        /^([a-z]+:\/\/(?:[^/@]*@)?)(?:127(?:\.\d+){3}|localhost)(?=[:/]|$)/i,
        '$110.0.2.2',
      );
      usesLoopback ||= changed !== value;
      return [name, changed];
    }),
  );
  return { environment, usesLoopback };
}

/** Kernels since 6.16 can do without ptrace, which is faster and works where ptrace is forbidden. */
async function speedArguments(linux: string): Promise<readonly string[]> {
  const help = await run(linux, ['--help'], { okCodes: Array.from({ length: 126 }, (_, code) => code) });
  return help.stdout.includes('seccomp=<on/auto/off>') ? ['seccomp=auto'] : [];
}

async function consoleTail(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-5).join('\n');
}

async function makeSparse(file: string, mebibytes: number): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.truncate(mebibytes * 1024 * 1024);
  } finally {
    await handle.close();
  }
}
