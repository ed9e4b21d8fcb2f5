import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { ApppotError } from '../errors.ts';

/** A program that goes on when this process ends. */
export interface Detached {
  readonly pid: number;
  /** Its exit code, as a shell would say it, for those who still wait. */
  readonly ended: Promise<number>;
}

/**
 * Starts a program in a session of its own (setsid(2)): no terminal, no signal of ours reaches it, and it outlives us.
 *
 * @param log file that gets its output, appended
 * @param env its whole environment
 * @throws ApppotError `missing-tool` when it cannot be started
 */
export async function startDetached(
  words: readonly [string, ...string[]],
  options: {
    readonly cwd: string;
    readonly log: string;
    readonly env: Readonly<Record<string, string>>;
  },
): Promise<Detached> {
  const log = openSync(options.log, 'a', 0o600);
  try {
    const [file, ...args] = words;
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: { ...options.env },
      stdio: ['ignore', log, log],
      detached: true,
    });
    const ended = once(child, 'exit').then(([code]) => (code as number | null) ?? 128);
    ended.catch(() => undefined);
    await once(child, 'spawn');
    child.unref();
    return { pid: child.pid ?? 0, ended };
  } catch (cause) {
    throw new ApppotError('missing-tool', `Cannot start ${words[0]}: ${(cause as Error).message}.`, {
      cause,
    });
  } finally {
    closeSync(log);
  }
}
