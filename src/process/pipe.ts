import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { ApppotError } from '../errors.ts';
import { baseEnvironment } from './run.ts';

/** What {@link runPiped} takes. */
export interface PipeOptions {
  readonly signal: AbortSignal;
  /** Standard input; closed at once when there is none. */
  readonly stdin?: Readable | undefined;
  /** Where standard output goes; it is ended with it. */
  readonly stdout: Writable;
  /** Added to the base environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folder to run in. */
  readonly cwd?: string;
  /** Called with each whole line of standard error. */
  readonly onLine?: (line: string) => void;
}

/**
 * Runs a program between two streams, for bytes that do not fit the memory. A program that does not read its input to
 * the end is no failure.
 *
 * @returns its exit code (128 when a signal ended it) and the last 256 KiB of standard error
 * @throws ApppotError `missing-tool` when it cannot be started; the signal's reason when that fired; the error of an
 *   input that cannot be read
 */
export async function runPiped(
  file: string,
  args: readonly string[],
  options: PipeOptions,
): Promise<{ readonly code: number; readonly stderr: string }> {
  options.signal.throwIfAborted();
  const child = spawn(file, [...args], {
    stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...baseEnvironment(), ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    // A group of its own: Ctrl-C on the terminal is for us, who then end it.
    detached: true,
  });
  const stop = (): void => {
    child.kill('SIGTERM');
    // Nobody reads on: a program that waits for a reader would not end.
    child.stdout?.destroy();
  };
  options.signal.addEventListener('abort', stop, { once: true });
  let stderr = '';
  let rest = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-262_144);
    if (options.onLine === undefined) return;
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    lines.forEach(options.onLine);
  });
  child.stdin?.on('error', () => undefined);
  if (child.stdin !== null) options.stdin?.pipe(child.stdin);
  child.stdout?.pipe(options.stdout);
  let unreadable: Error | undefined;
  options.stdin?.on('error', (error) => {
    unreadable = error;
    stop();
  });
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      // Its own children may hold the pipes; after an abort nobody wants to hear them.
      child.once('exit', () => {
        if (!options.signal.aborted && unreadable === undefined) return;
        child.stdout?.destroy();
        child.stderr?.destroy();
        resolve(128);
      });
      child.once('close', (status: number | null) => {
        resolve(status ?? 128);
      });
    });
    options.signal.throwIfAborted();
    if (unreadable !== undefined) throw unreadable;
    return { code, stderr };
  } catch (cause) {
    options.signal.throwIfAborted();
    if (unreadable !== undefined) throw unreadable;
    throw new ApppotError('missing-tool', `Cannot start ${file}: ${(cause as Error).message}.`, { cause });
  } finally {
    options.signal.removeEventListener('abort', stop);
    options.stdin?.destroy();
  }
}
