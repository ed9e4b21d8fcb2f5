import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';

/** What a call of the program ended with. */
export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A person to run as. */
export interface Person {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** Words before the program: become that person. */
  readonly prefix: readonly string[];
}

/** How to call the program. */
export interface CliOptions {
  readonly cwd: string;
  readonly person?: Person | undefined;
  /** Words before everything else, such as the path of `refuse` with its options. */
  readonly wrap?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** A copy of the package that everyone may read; the working copy may lie in a closed home folder. */
export interface PublicPackage {
  readonly folder: string;
  cli(args: readonly string[], options: CliOptions): Promise<CliResult>;
  remove(): Promise<void>;
}

/** Copies the compiled package. */
export async function publicPackage(): Promise<PublicPackage> {
  const folder = await mkdtemp('/var/tmp/apppot test-');
  await chmod(folder, 0o755);
  for (const part of ['dist/src', 'image', 'modules', 'templates', 'package.json', 'node_modules'])
    await run('cp', ['-a', '--parents', part, folder], { cwd: packageFile() });
  await run('chmod', ['-R', 'a+rX', folder]);
  return {
    folder,
    cli: async (args, options) => {
      const words = [
        ...(options.wrap ?? []),
        ...(options.person?.prefix ?? []),
        process.execPath,
        join(folder, 'dist', 'src', 'cli', 'main.js'),
        ...args,
      ];
      const home = options.person?.home;
      const result = await run(words[0] ?? '', words.slice(1), {
        cwd: options.cwd,
        okCodes: Array.from({ length: 256 }, (_, code) => code),
        env: {
          ...(home === undefined ? {} : { HOME: home, XDG_CACHE_HOME: join(home, '.cache') }),
          ...options.env,
        },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
    },
    remove: async () => rm(folder, { recursive: true, force: true }),
  };
}

/**
 * Someone without privileges: this process' own user, or for root one with a range of subordinate ids (subuid(5)), in a
 * home folder of its own below `folder`.
 */
export async function plainPerson(folder: string): Promise<Person | undefined> {
  const uid = process.getuid?.() ?? 0;
  const home = join(folder, 'home');
  await mkdir(home, { recursive: true });
  if (uid !== 0) return { uid, gid: process.getgid?.() ?? uid, home, prefix: [] };
  const ranges = await readFile('/etc/subuid', 'utf8').catch(() => '');
  const name = /^([a-z][a-z0-9_-]*):\d+:\d+$/m.exec(ranges)?.[1];
  const entry = (await readFile('/etc/passwd', 'utf8'))
    .split('\n')
    .find((line) => line.split(':')[0] === name);
  if (name === undefined || entry === undefined) return undefined;
  const [, , id = '', group = ''] = entry.split(':');
  await run('chown', [`${id}:${group}`, home]);
  return {
    uid: Number(id),
    gid: Number(group),
    home,
    prefix: ['setpriv', `--reuid=${id}`, `--regid=${group}`, '--init-groups', '--'],
  };
}
