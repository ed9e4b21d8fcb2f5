import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ApppotError } from '../errors.ts';

// Apart from run.ts, and without execa: loading that costs as much as booting a guest.

/**
 * Starts a program on this process' own terminal and streams, and waits for it. Signals that reach this
 * process are for the child: it shares the process group, or gets them passed on.
 *
 * @returns exit code as a shell would report it (128+N for signal N)
 * @throws ApppotError `missing-tool` when the program cannot be started
 */
export async function runAttached(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string | undefined>> } = {},
): Promise<number> {
  const child = spawn(file, [...args], {
    stdio: 'inherit',
    env: { ...(options.env ?? process.env) },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const passOn = (name: NodeJS.Signals): void => void child.kill(name);
  const signals: NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];
  for (const name of signals) process.on(name, passOn);
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0);
  } catch (cause) {
    throw new ApppotError('missing-tool', `Cannot start ${file}: ${(cause as Error).message}.`, { cause });
  } finally {
    for (const name of signals) process.off(name, passOn);
  }
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGTERM: 15,
};
