import { Command, InvalidArgumentError } from '@commander-js/extra-typings';
import type { Runtime } from '../../runtime/find.ts';
import type { Probe } from '../../runtime/probe.ts';
import type { CommandContext } from '../context.ts';

const HELP = `
Examples:
  apppot runtime build                          newest kernel source of Debian, about 5 minutes on 2 CPUs
  apppot runtime build --source linux-7.3.tar.xz
  apppot runtime build --update                 look for a newer source first
  apppot runtime status
  cp "$(apppot runtime path)"/* my-job/         the files that run anywhere

Exit codes: 0 done, 1 failed (the runtime in use is as it was), 2 wrong option, 130 interrupted.`;

/** `apppot runtime build | status | path`. */
export function runtimeCommand(context: CommandContext) {
  const command = new Command('runtime')
    .description('the static programs that start guests: build them, see what is used')
    .addHelpText('after', HELP);
  command
    .command('build')
    .description('build kernel, helper and guest runner from source, unless that is done already')
    .option('--source <tarball>', 'kernel source to use instead of Debian’s newest')
    .option('--mirror <url>', 'Debian mirror (default: the host’s)')
    .option('--jobs <n>', 'parallel compilers (default: all CPUs)', parseJobs)
    .option('--update', 'look for newer sources', false)
    .option('--force', 'build again', false)
    .addHelpText('after', HELP)
    .action(async (options) => {
      const [{ buildRuntime }, { loadSettings }] = await Promise.all([
        import('../../runtime/build.ts'),
        import('../../config/load.ts'),
      ]);
      const display = context.display();
      const result = await buildRuntime({
        ...options,
        mirror: options.mirror ?? loadSettings().mirror?.value,
        progress: display.progress(),
        signal: context.signal,
      });
      display.result(result, `${result.folder}${result.built ? '' : ' (was there already)'}`);
    });
  command
    .command('status')
    .description('show which programs a launch would use, and what they can do')
    .addHelpText('after', HELP)
    .action(async () => {
      const { inspectRuntime, lossOf } = await import('../../runtime/inspect.ts');
      const runtime = await runtimeInUse();
      const probe = await inspectRuntime(runtime, context.signal);
      const display = context.display();
      const loss = lossOf(runtime);
      const result = { ...runtime, ...probe };
      display.result(loss === undefined ? result : { ...result, loss }, describe(result));
      if (loss !== undefined) display.progress().note(loss);
    });
  command
    .command('path')
    .description('print the folder of the runtime in use')
    .addHelpText('after', HELP)
    .action(async () => {
      const { ApppotError } = await import('../../errors.ts');
      const runtime = await runtimeInUse();
      if (runtime.folder === undefined) {
        throw new ApppotError(
          'runtime-missing',
          `The kernel in use, ${runtime.kernel}, is not part of a runtime.`,
          {
            hint: 'Build one with "apppot runtime build".',
          },
        );
      }
      context.display().result({ folder: runtime.folder }, runtime.folder);
    });
  return command;
}

/** What a launch without options would use. */
async function runtimeInUse(): Promise<Runtime> {
  const [{ findRuntime }, { loadSettings }] = await Promise.all([
    import('../../runtime/find.ts'),
    import('../../config/load.ts'),
  ]);
  const settings = loadSettings();
  return findRuntime({ kernel: settings.kernel?.value, helper: settings.helper?.value });
}

function parseJobs(value: string): number {
  if (!/^[1-9]\d{0,3}$/.test(value)) throw new InvalidArgumentError('It has to be a whole number above 0.');
  return Number(value);
}

const ORIGINS = {
  built: 'built by AppPot',
  distribution: 'of the distribution',
  given: 'given by environment or settings',
} as const;

function describe(runtime: Runtime & Probe): string {
  const { seccomp, smp, transport, confinedHostfs } = runtime.capabilities;
  const yes = (value: boolean): string => (value ? 'yes' : 'no');
  return [
    `kernel     ${runtime.kernel} (${runtime.kernelVersion}, ${ORIGINS[runtime.origin]})`,
    `SMP        ${runtime.kernelSmp ?? yes(smp)}`,
    `helper     ${runtime.helper ?? 'none: no network, no limits, no signals'}`,
    `launcher   ${runtime.start}`,
    `seccomp    ${seccomp ? 'yes' : 'no: system calls by ptrace, several times slower'}`,
    `network    ${transport}`,
    `job folder ${confinedHostfs ? 'confined' : 'not confined: guest root can read what you can read'}`,
  ].join('\n');
}
