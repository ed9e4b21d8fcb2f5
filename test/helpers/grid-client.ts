import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, link, mkdir, mkdtemp, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { cacheFolder } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { plainPerson, publicPackage, type CliResult, type Person } from './cli.ts';

import { gridLab, type GridLab } from './grid.ts';
import { guestParts, type GuestParts } from './guest.ts';

/** Of one call. */
export interface ClientMore {
  /** Variables of apppot itself, and of nothing that starts it. */
  readonly env?: Readonly<Record<string, string>>;
  /** Words before it, such as those of a terminal. */
  readonly wrap?: readonly string[];
}

/** A scientist at the grid lab: a plain user with settings, a package, and a folder with a blank in its name. */
export interface GridClient {
  readonly lab: GridLab;
  readonly person: Person;
  /** Where the scientist works. */
  readonly folder: string;
  /** Image and runtime that griduser may read. */
  readonly image: string;
  readonly runtime: string;
  /** Sets the targets. */
  readonly configure: (text: string) => Promise<void>;
  readonly apppot: (args: readonly string[], more?: ClientMore) => Promise<CliResult>;
  /** The same, killed hard after so many milliseconds. False when it had ended before. */
  readonly killed: (args: readonly string[], ms: number) => Promise<boolean>;
  /** The same scientist at another desk: a folder and a journal of its own. */
  readonly desk: (name: string) => Promise<GridClient>;
  readonly remove: () => Promise<void>;
}

/** What `apppot jobs list --json` says of a job, as far as tests look. */
export interface ListedJob {
  readonly id: string;
  readonly shortId: string;
  readonly name: string;
  readonly state: string;
  readonly tasks: readonly { readonly state: string; readonly exitCode?: number; readonly remote?: string }[];
}

/** Image and runtime where every account of the site can read them; copied once for all tests. */
export async function siteParts(
  lab: GridLab,
  parts: GuestParts,
): Promise<{ readonly image: string; readonly runtime: string }> {
  const shared = join(lab.folder, 'shared');
  if (!existsSync(shared)) {
    // Other test files do so at the same time: it gets its name when it is whole.
    const draft = await mkdtemp(join(lab.folder, 'shared-'));
    await mkdir(join(draft, 'runtime'));
    await run('cp', ['--sparse=always', parts.image, join(draft, 'test.img')]);
    const from = join(parts.launcher, '..');
    for (const name of await readdir(from)) await run('cp', ['-L', join(from, name), join(draft, 'runtime')]);
    await run('chmod', ['-R', 'a+rX', draft]);
    await rename(draft, shared).catch(async (error: unknown) => {
      await run('rm', ['-rf', draft]);
      if (!existsSync(shared)) throw error;
    });
  }
  return { image: join(shared, 'test.img'), runtime: join(shared, 'runtime') };
}

/** Makes a scientist, or skips the test. */
export async function gridClient(t: ExecutionContext): Promise<GridClient | undefined> {
  const lab = gridLab(t);
  const parts = guestParts(t);
  if (lab === undefined || parts === undefined) return undefined;
  const { image, runtime } = await siteParts(lab, parts);
  const package_ = await publicPackage();
  const person = await plainPerson(package_.folder);
  if (person === undefined) return undefined;
  const config = join(package_.folder, 'config');
  await mkdir(join(config, 'apppot'), { recursive: true });
  const main = join(package_.folder, 'dist', 'src', 'cli', 'main.js');
  const desk = async (name: string): Promise<GridClient> => {
    const folder = join(package_.folder, name);
    await mkdir(folder);
    await run('chown', ['-R', `${person.uid}:${person.gid}`, folder, person.home]);
    const env = {
      XDG_CONFIG_HOME: config,
      XDG_STATE_HOME: join(person.home, `state of ${name}`),
      SLURM_CONF: lab.slurm.conf,
    };
    return {
      lab,
      person,
      folder,
      image,
      runtime,
      configure: async (text) => {
        await writeFile(join(config, 'apppot', 'apppot.ini'), text);
        await chmod(config, 0o755);
      },
      apppot: async (args, more = {}) => {
        const own = Object.entries(more.env ?? {}).map(([key, value]) => `${key}=${value}`);
        const who = own.length === 0 ? person : { ...person, prefix: [...person.prefix, 'env', ...own] };
        return package_.cli(args, { cwd: folder, ...more, person: who, env });
      },
      killed: async (args, ms) => {
        const words = [...person.prefix, process.execPath, main, ...args];
        const child = spawn(words[0] ?? '', words.slice(1), {
          cwd: folder,
          stdio: 'ignore',
          env: { PATH: process.env['PATH'], HOME: person.home, ...env },
        });
        const timer = setTimeout(() => child.kill('SIGKILL'), ms);
        const [, cause] = (await once(child, 'exit')) as [number | null, string | null];
        clearTimeout(timer);
        return cause === 'SIGKILL';
      },
      desk,
      remove: () => package_.remove(),
    };
  };
  return desk('my work');
}

/** A section of apppot.ini for the lab's A-REX. */
export function arcTarget(client: GridClient, more: Readonly<Record<string, string>> = {}): string {
  const { lab, image, runtime } = client;
  const values = {
    type: 'arc',
    endpoint: lab.arc.endpoint,
    queue: lab.arc.queue,
    proxy: join(lab.clients.apptest, 'proxy.pem'),
    ca_dir: lab.arc.caDir,
    image: `site:${image}`,
    runtime,
    poll: '1',
    ...more,
  };
  const lines = Object.entries(values).map(([name, value]) => `${name} = ${value}\n`);
  return `[target ce]\n${lines.join('')}`;
}

/** The lab's ssh configuration for the plain user, with another port when a proxy stands between. */
export async function sshConfig(client: GridClient, port: number): Promise<string> {
  const from = client.lab.clients.apptest;
  const file = join(client.folder, `ssh-${port}`);
  const lines = [
    'Host lab',
    '  HostName localhost',
    `  Port ${port}`,
    `  User ${client.lab.ssh.user}`,
    `  IdentityFile ${join(from, 'id')}`,
    '  IdentitiesOnly yes',
    '  IdentityAgent none',
    `  HostKeyAlias [localhost]:${client.lab.ssh.port}`,
    `  UserKnownHostsFile ${join(from, 'known_hosts')}`,
  ];
  await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o644 });
  return (await stat(file)).isFile() ? file : '';
}

/** Gives the person the base systems that this user has built: then a build takes seconds, and no network. */
export async function seedImageCache(person: Person): Promise<void> {
  const theirs = join(person.home, '.cache', 'apppot', 'images');
  await mkdir(theirs, { recursive: true });
  const names = await readdir(cacheFolder('images')).catch(() => []);
  // Without the images themselves, which would leave nothing to build. Another file system takes no links.
  for (const name of names.filter((one) => one.endsWith('.tar')))
    await link(cacheFolder('images', name), join(theirs, name)).catch(() => undefined);
  const folders = [join(person.home, '.cache'), join(theirs, '..'), theirs];
  await run('chown', [`${person.uid}:${person.gid}`, ...folders]);
}
