/** The engine of snapshots, built once for a test file, and random trees for it. */
import {
  mkdtemp,
  rm,
  mkdir,
  writeFile,
  symlink,
  link,
  chmod,
  lchown,
  lutimes,
  rename,
} from 'node:fs/promises';
import { appendFile, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run, type RunResult } from '../../src/process/run.ts';

export const ANY_CODE = [0, 1, 2, 3, 4, 5];

/** The engine and a private folder; CFLAGS as build.sh takes them. */
export class Engine {
  readonly folder: string;
  readonly program: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.program = join(folder, 'apppot-snap');
  }

  static async build(flags?: string): Promise<Engine> {
    const engine = new Engine(await mkdtemp('/var/tmp/apppot snap-'));
    const env = flags === undefined ? {} : { CFLAGS: flags };
    await run('sh', [packageFile('image', 'snap', 'build.sh'), '--output', engine.program], { env });
    return engine;
  }

  /** Runs a command of the engine; its exit code is part of the result. */
  async snap(...args: string[]): Promise<RunResult> {
    return run(this.program, args, { okCodes: ANY_CODE, env: { ASAN_OPTIONS: 'detect_leaks=0' } });
  }

  /** As snap(), and the code has to be 0. */
  async ok(...args: string[]): Promise<string> {
    return (await run(this.program, args, { env: { ASAN_OPTIONS: 'detect_leaks=0' } })).stdout;
  }

  async copy(from: string, to: string): Promise<void> {
    await run('cp', [
      '-a',
      '--sparse=always',
      '--preserve=all',
      join(this.folder, from),
      join(this.folder, to),
    ]);
  }

  at(...names: string[]): string {
    return join(this.folder, ...names);
  }

  async remove(): Promise<void> {
    // Not rm() of Node.js: paths may be longer than PATH_MAX.
    await run('rm', ['-rf', this.folder]);
  }
}

/** What find tells of a tree: a second opinion beside the engine's own manifest. The folder of AppPot's records is left out. */
export async function listing(root: string): Promise<readonly string[]> {
  const format = '%P\t%y %m %U %G %T@ %l\\0';
  const words = ['.', '-path', './var/lib/apppot', '-prune', '-o', '-printf', format];
  const { stdout } = await run('env', ['-C', root, 'find', ...words]);
  return stdout.split('\0').sort();
}

/** A small generator of random numbers with a seed (mulberry32), so that a failed run can be repeated. */
export class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed;
  }

  /** A whole number from 0 up to, not including, `below`. */
  next(below: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.next(list.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
}

const NAMES = [
  ...['a', 'b', 'a-b', 'a b', '-dash', '+plus', 'line\nbreak', 'tab\there', 'back\\slash', '.hidden', 'ünï'],
  ...['x,y', 'percent%', '\u0001control', 'n'.repeat(255), 'z'.repeat(101), 'wh', '.wh'],
];

async function entries(root: string): Promise<{ folders: string[]; others: string[] }> {
  const folders = [root];
  const others: string[] = [];
  for (const folder of folders) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (path.startsWith(join(root, 'var'))) continue;
      if (entry.isDirectory()) folders.push(path);
      else others.push(path);
    }
  }
  return { folders, others };
}

async function make(dice: Dice, path: string, files: readonly string[]): Promise<void> {
  switch (dice.next(10)) {
    case 0:
    case 1:
    case 2:
      await mkdir(path);
      break;
    case 3:
      await symlink(dice.pick(['/etc/passwd', '../..', 'nowhere', 'x'.repeat(2000), '.']), path);
      break;
    case 4:
      await run('mknod', ['--', path, ...dice.pick([['p'], ['c', '1', '3'], ['b', '7', '300']])]);
      break;
    case 5:
      if (files.length > 0) await link(dice.pick(files), path);
      else await writeFile(path, '');
      break;
    case 6:
      await writeFile(path, Buffer.concat([Buffer.alloc(dice.next(3) * 4096), Buffer.from('end')]));
      break;
    default:
      await writeFile(path, 'abcdefgh'.repeat(dice.next(2000)));
  }
}

async function change(dice: Dice, path: string): Promise<void> {
  const { mode, size, mtimeMs } = await lstat(path).then((stat) => ({
    mode: stat.mode,
    size: stat.isFile() ? stat.size : -1,
    mtimeMs: stat.mtimeMs,
  }));
  const isLink = (mode & 0o170000) === 0o120000;
  switch (dice.next(7)) {
    case 0:
      if (!isLink) await chmod(path, dice.pick([0o644, 0o4755, 0o2750, 0o1777, 0o000, 0o600]));
      break;
    case 1:
      await lchown(path, dice.pick([0, 1000, 2_200_000]), dice.pick([0, 42, 3_000_000]));
      break;
    case 2:
      await lutimes(path, dice.next(2_000_000_000), dice.next(4_000_000_000) - 100_000_000 + 0.25);
      break;
    case 3:
      if (!isLink && (size >= 0 || (mode & 0o170000) === 0o040000)) {
        const value = `0x${dice.pick(['', '00ff0a3d', '41'.repeat(300)])}`;
        await run('setfattr', ['-n', dice.pick(['user.a', 'user.b, c']), '-v', value, '--', path]);
      }
      break;
    case 4:
      if (size >= 0) await appendFile(path, 'more');
      break;
    default:
      // The same size and the same time, other content.
      if (size > 0) {
        await writeFile(path, Buffer.alloc(size, dice.next(256)));
        await lutimes(path, mtimeMs / 1000, mtimeMs / 1000);
      }
  }
}

/** Random edits of a tree, `count` of them. */
export async function edit(dice: Dice, root: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { folders, others } = await entries(root);
    const path = join(dice.pick(folders), dice.pick(NAMES));
    const all = [...folders.slice(1), ...others];
    const kind = all.length === 0 ? 0 : dice.next(8);
    if (kind < 3) {
      const files: string[] = [];
      for (const other of others) if ((await lstat(other)).isFile()) files.push(other);
      if ((await lstat(path).catch(() => undefined)) === undefined) await make(dice, path, files);
    } else if (kind === 3) {
      await rm(dice.pick(all), { recursive: true });
    } else if (kind === 4) {
      // What cannot be renamed (a folder into itself, over a folder with content) stays.
      await rename(dice.pick(all), path).catch(() => undefined);
    } else if (kind === 5) {
      const replaced = dice.pick(all);
      await rm(replaced, { recursive: true });
      await make(dice, replaced, []);
    } else {
      await change(dice, dice.pick(all));
    }
  }
}
