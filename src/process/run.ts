import type { ExecaError, Options } from 'execa';
import { ApppotError } from '../errors.ts';
import { shellQuote } from './quote.ts';

/** What {@link run} takes beside program and arguments. */
export interface RunOptions {
  /** Folder to run in; the current one by default. */
  readonly cwd?: string;
  /** Variables to add to (or, with undefined, remove from) the base environment of {@link baseEnvironment}. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Bytes for standard input; it is closed (empty) by default. */
  readonly input?: string | Uint8Array;
  /** Exit codes that are no failure; [0] by default. */
  readonly okCodes?: readonly number[] | 'any';
  /** Ends the program and all that it started: TERM to its process group, KILL five seconds later. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each line of standard output and standard error, in the order of arrival. */
  readonly onLine?: (line: string) => void;
  /** File that gets standard output and standard error, appended. */
  readonly logFile?: string;
  /** Umask-like care for secrets: do not repeat the arguments in error messages. */
  readonly secretArguments?: boolean;
}

/** What a program that ended well left behind. */
export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/**
 * Runs a program to its end: arguments as an array (no shell), standard input closed, an environment that is
 * stated and not inherited, both outputs kept.
 *
 * @param file program name (looked up on PATH) or path
 * @param args its arguments
 * @throws ApppotError `missing-tool` when the program is not there, `interrupted` when `signal` fired,
 *   `process-failed` when it ended with a code that is not in `okCodes` or by a signal; message and hint hold
 *   the quoted command, the folder and the last lines of standard error
 */
export async function run(
  file: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  options.signal?.throwIfAborted();
  const okCodes = options.okCodes ?? [0];
  const execaOptions = {
    env: definedOnly({ ...baseEnvironment(), ...options.env }),
    extendEnv: false,
    stripFinalNewline: false,
    reject: false,
    // A group of its own, so that Ctrl-C and an abort end everything that the program started, once.
    detached: true,
    maxBuffer: 256 * 1024 * 1024,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
    ...(options.logFile === undefined ? {} : logTo(options.logFile)),
  } satisfies Options;
  // Half of the program's start is this library: commands that start nothing do without.
  const { execa } = await import('execa');
  options.signal?.throwIfAborted();
  const child = execa(file, [...args], execaOptions);
  const stop = killGroupOnAbort(child.pid, options.signal);
  if (options.onLine !== undefined) reportLines(child, options.onLine);
  const result = await child.finally(stop);
  if (options.signal?.aborted === true) {
    throw new ApppotError('interrupted', `Interrupted while running ${file}.`, { cause: result });
  }
  const exitCode = result.exitCode ?? -1;
  if (
    result.failed &&
    (result.exitCode === undefined || (okCodes !== 'any' && !okCodes.includes(exitCode)))
  ) {
    throw failure(file, args, options, result as unknown as ExecaError);
  }
  return { stdout: asText(result.stdout), stderr: asText(result.stderr), exitCode };
}

/** Variables of this process that other programs may see; everything else has to be given. */
const PASSED_ON = [
  'PATH HOME USER LOGNAME TMPDIR XDG_CACHE_HOME XDG_CONFIG_HOME XDG_STATE_HOME XDG_RUNTIME_DIR',
  'SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS',
  'http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY',
]
  .join(' ')
  .split(' ');

/** The environment that programs get: a few variables of ours, and a fixed locale so that messages can be read. */
export function baseEnvironment(): Record<string, string> {
  const environment: Record<string, string> = { LC_ALL: 'C.UTF-8' };
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  // sbin is where mke2fs lives, and not on a plain user's PATH.
  environment['PATH'] = `${environment['PATH'] ?? '/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`;
  return environment;
}

function definedOnly(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function logTo(file: string): {
  stdout: ['pipe', { file: string; append: true }];
  stderr: ['pipe', { file: string; append: true }];
} {
  return { stdout: ['pipe', { file, append: true }], stderr: ['pipe', { file, append: true }] };
}

function killGroupOnAbort(pid: number | undefined, signal: AbortSignal | undefined): () => void {
  if (pid === undefined || signal === undefined) return () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const kill = (name: NodeJS.Signals): void => {
    try {
      process.kill(-pid, name);
    } catch {
      // The group is gone: nothing left to end.
    }
  };
  const onAbort = (): void => {
    kill('SIGTERM');
    timer = setTimeout(() => {
      kill('SIGKILL');
    }, 5000);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  return () => {
    signal.removeEventListener('abort', onAbort);
    if (timer !== undefined) clearTimeout(timer);
  };
}

function reportLines(
  child: { readonly stdout: NodeJS.ReadableStream | null; readonly stderr: NodeJS.ReadableStream | null },
  onLine: (line: string) => void,
): void {
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    let rest = '';
    stream.on('data', (chunk: Buffer | string) => {
      const lines = (rest + chunk.toString()).split(/\r?\n|\r/);
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    });
    stream.on('end', () => {
      if (rest !== '') onLine(rest);
    });
  }
}

function failure(
  file: string,
  args: readonly string[],
  options: Pick<RunOptions, 'cwd' | 'secretArguments'>,
  result: ExecaError,
): ApppotError {
  if (result.code === 'ENOENT' || result.code === 'EACCES') {
    return new ApppotError(
      'missing-tool',
      `Cannot start ${file}: ${result.code === 'ENOENT' ? 'not found' : 'not executable'}.`,
      {
        cause: result,
        hint: `Install the program that provides ${file}, or see "npm run setup" and "apppot doctor".`,
      },
    );
  }
  const how =
    result.signal === undefined
      ? `ended with code ${result.exitCode ?? '?'}`
      : `was ended by ${result.signal}`;
  const command =
    options.secretArguments === true ? file : [file, ...args].map((word) => shellQuote(word)).join(' ');
  const tail = asText(result.stderr).trimEnd().split('\n').slice(-8).join('\n');
  return new ApppotError('process-failed', `${file} ${how}${tail === '' ? '.' : `:\n${tail}`}`, {
    cause: result,
    hint: `To see it again: (cd ${shellQuote(options.cwd ?? process.cwd())} && ${command})`,
  });
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
