import { packageFile } from '../config/paths.ts';
import { runAttached } from '../process/attached.ts';

/** The parts that a launch needs; `src/runtime` finds them. */
export interface LaunchParts {
  /** apppot-start: the one beside the kernel, or the package's own. */
  readonly start?: string;
  /** Kernel and supervisor, where apppot-start would not find them itself. */
  readonly kernel?: string;
  readonly helper?: string;
}

/** One launch: options of apppot-start, as words, and the program with its arguments. */
export interface Launch {
  readonly options: readonly string[];
  readonly program: readonly string[];
}

/**
 * The command line of a launch: the same program starts guests here and on the grid, so this adds nothing
 * but what apppot-start cannot know.
 *
 * @returns program and arguments
 */
export function launchCommand(parts: LaunchParts, launch: Launch): [string, ...string[]] {
  const found = [
    ...(parts.kernel === undefined || launch.options.includes('--kernel') ? [] : ['--kernel', parts.kernel]),
    ...(parts.helper === undefined || launch.options.includes('--slirp') ? [] : ['--slirp', parts.helper]),
  ];
  return [
    parts.start ?? packageFile('image', 'host', 'apppot-start'),
    '--die-with-parent',
    ...found,
    ...launch.options,
    '--',
    ...launch.program,
  ];
}

/**
 * Starts a guest on this process' own streams and waits for its end. Signals go to the guest.
 *
 * @returns the exit code: the job's own, or one of apppot-start's (124, 125, 128+N)
 * @throws ApppotError `missing-tool` when there is no POSIX shell
 */
export async function launch(parts: LaunchParts, request: Launch): Promise<number> {
  const [file, ...args] = launchCommand(parts, request);
  // Not executed itself: a package may lie on a file system that is mounted noexec.
  return runAttached('/bin/sh', [file, ...args], { env: process.env });
}
