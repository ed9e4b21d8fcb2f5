import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../src/config/paths.ts';
import { ApppotError } from '../src/errors.ts';
import { findRuntime } from '../src/runtime/find.ts';
import { start } from './processes.ts';
import type { Column } from './rows.ts';

/** What the columns start, prepared once. */
export interface Bench {
  /** Removed at the end. */
  readonly folder: string;
  /** The job folder: sources, tree.tar. */
  readonly job: string;
  /** The image's tree, for the native column. */
  readonly tree: string;
  readonly image: string;
  readonly kernel: string;
  readonly start: string;
  /** The same launcher with no supervisor beside it. */
  readonly bareStart: string;
  readonly stock: string | undefined;
  readonly columns: readonly Column[];
}

const STOCK = '/usr/bin/linux.uml';

/** Debian's User-Mode Linux, where it is installed. */
export async function findStock(): Promise<string | undefined> {
  const { exitCode } = await start(['test', '-x', STOCK], { okCodes: [0, 1] });
  return exitCode === 0 ? STOCK : undefined;
}

/** Unpacks the image for the native column, and lays out the job folder. Needs root, for the owners in the tree. */
export async function prepare(image: string, wanted: readonly Column[]): Promise<Bench> {
  const runtime = await findRuntime();
  if (runtime.origin !== 'built')
    throw new ApppotError('runtime-missing', 'there is no built runtime', {
      hint: 'Build one with "apppot runtime build", or name its folder in APPPOT_RUNTIME.',
    });
  const folder = await mkdtemp(join(tmpdir(), 'apppot-bench-'));
  const [job, tree, bare] = [join(folder, 'job'), join(folder, 'tree'), join(folder, 'bare')];
  for (const path of [job, tree, bare]) await mkdir(path);
  const bareStart = join(bare, 'apppot-start');
  await copyFile(runtime.start, bareStart);
  await start(['debugfs', '-R', `rdump / ${tree}`, image]);
  await mkdir(join(tree, 'home/user/job'), { recursive: true });
  for (const name of ['inside.sh', 'gauss.c', 'small.c'])
    await copyFile(packageFile('bench', name), join(job, name));
  await copyFile(packageFile('test', 'fixtures', 'c', 'memory.c'), join(job, 'memory.c'));
  await start(['tar', '-C', join(tree, 'usr'), '-cf', join(job, 'tree.tar'), 'include', 'share', 'lib/gcc']);
  const stock = await findStock();
  if (stock === undefined && wanted.some((column) => column.startsWith('stock')))
    console.error(`without ${STOCK} the columns of the stock kernel stay empty: install user-mode-linux`);
  return {
    folder,
    job,
    tree,
    image,
    kernel: runtime.kernel,
    start: runtime.start,
    bareStart,
    stock,
    columns: wanted.filter((column) => {
      if (column.startsWith('stock')) return stock !== undefined;
      return column !== 'ours-2' || (runtime.kernelSmp !== undefined && availableParallelism() > 1);
    }),
  };
}

export async function remove(bench: Bench): Promise<void> {
  await rm(bench.folder, { recursive: true, force: true });
}

/** The command line that runs a program in the job folder, one launch with a cold copy-on-write file. */
export function command(
  bench: Bench,
  column: Column,
  words: readonly string[],
  options: readonly string[] = [],
): readonly string[] {
  const guest = [
    '--image',
    bench.image,
    '--mem',
    '512M',
    '--no-stdin',
    '--quiet',
    ...options,
    '--',
    ...words,
  ];
  switch (column) {
    case 'native':
      return [...['unshare', '--mount', '--', 'sh', '-c', NATIVE, 'native', bench.tree, bench.job], ...words];
    case 'stock':
      // The same launcher and supervisor as ours, so that only the kernels differ; the scheduler may move it about.
      return [bench.start, '--kernel', STOCK, '--no-pin', ...guest];
    case 'stock-pinned':
      return [bench.start, '--kernel', STOCK, ...guest];
    case 'ours':
      return [bench.start, ...guest];
    case 'ours-2':
      return [bench.start, '--cpus', '2', ...guest];
  }
}

/**
 * The command line of a network client. The stock kernel gets slirp-fullbolt, which serves only a guest without our
 * supervisor; both show the host's loopback at 10.0.2.2.
 */
export function networkCommand(bench: Bench, column: Column, words: readonly string[]): readonly string[] {
  if (column === 'native') return command(bench, column, words);
  if (!column.startsWith('stock')) return command(bench, column, words, ['--host-loopback']);
  const { bareStart, stock, image } = bench;
  const pin = column === 'stock-pinned' ? ['taskset', '--cpu-list', '0'] : [];
  const guest = ['--kernel', stock ?? '', '--image', image, '--mem', '512M', '--no-stdin', '--quiet', '--'];
  return [...pin, bareStart, ...guest, ...words];
}

/** A chroot with the devices of the host, in a mount name space of its own, which takes the mounts away with it. */
const NATIVE = `set -e
tree=$1 job=$2
shift 2
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc" 2>/dev/null || mount --rbind /proc "$tree/proc"
mount --bind "$job" "$tree/home/user/job"
exec chroot "$tree" sh -c 'cd /home/user/job && exec "$@"' sh "$@"`;
