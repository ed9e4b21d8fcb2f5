import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { run, type RunResult } from '../../src/process/run.ts';
import { guestParts, type GuestParts } from './guest.ts';
import { requireOrSkip } from './require.ts';

/** A folder with an image whose base is recorded; every test works on copies. */
export interface SnapLab {
  readonly parts: GuestParts;
  readonly folder: string;
  /** An image with a recorded base. */
  readonly image: string;
  /** `apppot WORD…` in the folder; never throws for an exit code. */
  apppot(...words: readonly string[]): Promise<RunResult>;
  /** The same, which has to end well; with --json, its answer. */
  json(...words: readonly string[]): Promise<Record<string, unknown>>;
  /** Runs a shell script as root in a guest, and gives what it wrote. */
  guest(options: readonly string[], script: string): Promise<string>;
  /** The manifest of what a guest with these options sees, by its kernel's word. */
  manifest(...options: readonly string[]): Promise<string>;
  copy(name: string): Promise<string>;
}

/** Makes the lab once for a test file, or skips the test. */
export async function snapLab(t: ExecutionContext): Promise<SnapLab | undefined> {
  const parts = guestParts(t);
  if (parts === undefined) return undefined;
  const engine = await readFile(join(parts.runtime, 'apppot-snap')).catch(() => undefined);
  if (!requireOrSkip(t, engine !== undefined, 'the runtime has no apppot-snap')) return undefined;
  return (shared ??= makeLab(parts));
}

let shared: Promise<SnapLab> | undefined;

/** Removes it; for `test.after.always`. */
export async function removeLab(): Promise<void> {
  const lab = await shared?.catch(() => undefined);
  if (lab !== undefined) await rm(lab.folder, { recursive: true, force: true });
}

const ANY = Array.from({ length: 256 }, (_, code) => code);

/** What a call of the program gets beside a minimal environment. */
export function snapEnvironment(parts: GuestParts, folder: string): Record<string, string> {
  return {
    APPPOT_RUNTIME: parts.runtime,
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_STATE_HOME: join(folder, 'state'),
    TMPDIR: folder,
  };
}

async function makeLab(parts: GuestParts): Promise<SnapLab> {
  // Not in memory: images are large, and /tmp may be one.
  const folder = await mkdtemp(join(tmpdir() === '/tmp' ? '/var/tmp' : tmpdir(), 'apppot snap '));
  await chmod(folder, 0o755);
  const image = join(folder, 'base.img');
  await run('cp', ['--sparse=always', parts.image, image]);
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  const env = snapEnvironment(parts, folder);
  const apppot = async (...words: readonly string[]): Promise<RunResult> =>
    run(process.execPath, [cli, ...words], { cwd: folder, env, okCodes: ANY });
  const json = async (...words: readonly string[]): Promise<Record<string, unknown>> => {
    const { exitCode, stdout, stderr } = await apppot(...words, '--json');
    if (exitCode !== 0) throw new Error(`apppot ${words.join(' ')}: ${exitCode}: ${stderr}`);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const guest = async (options: readonly string[], script: string): Promise<string> => {
    const job = await mkdtemp(join(folder, 'job'));
    const words = ['--as-root', '--quiet', '--no-stdin', '--mem', '512M', '--job-folder', job];
    const bind = ['--bind', `${parts.runtime}:/mnt:ro`, '--bind', `${folder}:/srv`];
    const command = [...words, ...bind, ...options, '--', 'sh', '-e', '-c', script];
    return (await run(parts.launcher, command, { cwd: folder, env })).stdout;
  };
  await json('snap', 'base', image);
  return {
    ...{ parts, folder, image, apppot, json, guest },
    manifest: async (...options) => guest(options, '/mnt/apppot-snap --suspect-all manifest'),
    copy: async (name) => {
      await run('cp', ['--sparse=always', '--reflink=auto', image, join(folder, name)]);
      return name;
    },
  };
}
