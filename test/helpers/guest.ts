import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, closeSync } from 'node:fs';
import { mkdtemp, readFile, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { requireOrSkip } from './require.ts';

/** What a launch needs: the runtime folder that the tests share, and one image. */
export interface GuestParts {
  readonly runtime: string;
  readonly image: string;
  /** apppot-start in the runtime folder. */
  readonly launcher: string;
}

export interface StartOptions {
  /** Folder of the job; a new one by default. */
  readonly cwd?: string;
  /** Added to an otherwise minimal environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Bytes through a pipe, a file, /dev/null (default), nothing at all, or a pipe that the test keeps. */
  readonly stdin?: Buffer | { file: string } | 'null' | 'closed' | 'pipe';
  /** A file for standard output instead of a pipe. */
  readonly stdoutFile?: string;
  /** Words before the launcher, such as [fixture, '--no-ptrace', '--']. */
  readonly wrapper?: readonly string[];
  /** The image as --image; false when the arguments name one. */
  readonly image?: string | false;
  /** Milliseconds before the test gives up and kills the launcher; 60 s by default. */
  readonly limit?: number;
  readonly uid?: number;
}

export interface Ended {
  readonly stdout: Buffer;
  readonly stderr: string;
  /** As a shell would say it: 128+N for signal N. */
  readonly code: number;
  readonly ms: number;
}

/** A launch that runs; `ended` resolves at its end. */
export interface Started {
  readonly child: ChildProcess;
  readonly cwd: string;
  readonly ended: Promise<Ended>;
  /** Waits until standard output has shown `text`. */
  readonly shows: (text: string) => Promise<void>;
}

/** The parts from APPPOT_TEST_RUNTIME and APPPOT_TEST_IMAGE, or undefined when the test is to be skipped. */
export function guestParts(t: ExecutionContext): GuestParts | undefined {
  const runtime = process.env['APPPOT_TEST_RUNTIME'] ?? '';
  const image = process.env['APPPOT_TEST_IMAGE'] ?? '';
  const launcher = path.join(runtime, 'apppot-start');
  const there = runtime !== '' && existsSync(launcher) && existsSync(image);
  const reason = 'APPPOT_TEST_RUNTIME and APPPOT_TEST_IMAGE name no runtime folder and image';
  return requireOrSkip(t, there, reason) ? { runtime, image, launcher } : undefined;
}

/** A new folder that goes away with the test. Its name has a blank: everything must work there. */
export async function newFolder(t: ExecutionContext): Promise<string> {
  const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'apppot test ')));
  t.teardown(async () => {
    // rm of Node follows no links, but a job may have left folders that only root may enter.
    await once(spawn('rm', ['-rf', '--', folder]), 'close');
  });
  return folder;
}

function openStdin(stdin: StartOptions['stdin']): number | 'pipe' | 'ignore' {
  if (stdin === undefined || stdin === 'null' || stdin === 'closed') return 'ignore';
  if (stdin === 'pipe' || Buffer.isBuffer(stdin)) return 'pipe';
  return openSync(stdin.file, 'r');
}

/** Starts apppot-start with these arguments; nothing of this process' environment but PATH goes along. */
export function launch(
  parts: GuestParts,
  args: readonly string[],
  options: StartOptions & { cwd: string },
): Started {
  const image = options.image === false ? [] : ['--image', options.image ?? parts.image];
  // A closed descriptor is what Node cannot give, and the shell can.
  const closing = options.stdin === 'closed' ? ['/bin/sh', '-c', 'exec "$@" <&-', 'sh'] : [];
  const words = [...closing, ...(options.wrapper ?? []), parts.launcher, ...image, ...args];
  const input = openStdin(options.stdin);
  const output = options.stdoutFile === undefined ? 'pipe' : openSync(options.stdoutFile, 'w');
  const stdio: StdioOptions = [input, output, 'pipe'];
  const started = performance.now();
  const child = spawn(words[0] ?? '', words.slice(1), {
    cwd: options.cwd,
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: '/nonexistent', ...options.env },
    stdio,
    // A process group of its own, as a batch system makes one.
    detached: true,
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
  if (typeof input === 'number') closeSync(input);
  if (typeof output === 'number') closeSync(output);
  const out = collect(child.stdout);
  const err = collect(child.stderr);
  child.stdin?.on('error', () => undefined); // the job need not read all of it
  if (Buffer.isBuffer(options.stdin)) child.stdin?.end(options.stdin);
  const timer = setTimeout(() => child.kill('SIGKILL'), options.limit ?? 60_000);
  const ended = once(child, 'close').then(([code, signal]) => {
    clearTimeout(timer);
    return {
      stdout: Buffer.concat(out.chunks),
      stderr: Buffer.concat(err.chunks).toString(),
      code: (code as number | null) ?? 128 + signalNumber(signal as NodeJS.Signals),
      ms: performance.now() - started,
    };
  });
  return { child, cwd: options.cwd, ended, shows: (text) => out.shows(text, ended) };
}

/** Starts a guest and waits for its end. */
export async function start(
  t: ExecutionContext,
  parts: GuestParts,
  args: readonly string[],
  options: StartOptions = {},
): Promise<Ended> {
  const cwd = options.cwd ?? (await newFolder(t));
  return launch(parts, args, { ...options, cwd }).ended;
}

/** What the launcher wrote with --outcome. */
export interface Outcome {
  readonly version: number;
  readonly origin: 'job' | 'launcher';
  readonly exitCode: number;
  readonly signal: number | null;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly kernelVersion?: string;
  readonly baseId?: string;
  readonly bootSeconds: number;
  readonly wallSeconds: number;
  readonly userSeconds: number;
  readonly systemSeconds: number;
  readonly maxRssKiB: number;
  readonly oomKills: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

export async function readOutcome(file: string): Promise<Outcome> {
  return JSON.parse(await readFile(file, 'utf8')) as Outcome;
}

function signalNumber(name: NodeJS.Signals | null): number {
  const known: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };
  return name === null ? 0 : (known[name] ?? 127);
}

function collect(stream: NodeJS.ReadableStream | null) {
  const chunks: Buffer[] = [];
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const shows = async (text: string, ended: Promise<Ended>) => {
    while (!Buffer.concat(chunks).includes(text)) {
      const over = await Promise.race([ended, sleep(10)]);
      if (over !== undefined && !Buffer.concat(chunks).includes(text)) {
        throw new Error(`ended with ${over.code} before it showed ${text}: ${over.stderr}`);
      }
    }
  };
  return { chunks, shows };
}
