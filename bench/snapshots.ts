/** Rows about snapshots: what they cost beside what one would do without them. */
import { copyFile, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { packageFile } from '../src/config/paths.ts';
import type { Bench } from './columns.ts';
import { peakMemory } from './peak.ts';
import { start } from './processes.ts';
import type { Column } from './rows.ts';
import { add, median, type Measurements } from './table.ts';

const FILES = 100_000;
/** Bytes of real files that the rows about throughput work on. */
const CONTENT_MB = 500;
const CLI = packageFile('dist', 'src', 'cli', 'main.js');

/** The old way: `apppot-snap changes` of 0.27 was GNU tar with these options. */
const OLD = `tar --create --one-file-system --exclude=./home/user/job --listed-incremental=`;

/** A folder with what the rows work on. */
interface Lab {
  readonly bench: Bench;
  readonly folder: string;
  readonly rows: ReadonlySet<string>;
}

/** All rows of the kind `snapshot` that are wanted. */
export async function measureSnapshots(
  bench: Bench,
  rows: ReadonlySet<string>,
  rounds: number,
  all: Measurements,
): Promise<void> {
  if (![...rows].some((row) => row.startsWith('snap-'))) return;
  const lab: Lab = { bench, rows, folder: await mkdtemp(join(tmpdir(), 'apppot-bench-snap-')) };
  try {
    if (rows.has('snap-edit') || rows.has('snap-edit-1g')) await measureEdit(lab, rounds, all);
    if (rows.has('snap-tar') || rows.has('snap-changes') || rows.has('snap-layer'))
      await measureContent(lab, rounds, all);
    if ([...rows].some((row) => row.startsWith('snap-memory-'))) await measureMillion(lab, all);
  } finally {
    await rm(lab.folder, { recursive: true, force: true });
  }
}

/** One small edit in a large image: GNU tar in the stock kernel, and ours; and ours with a gigabyte more in it. */
async function measureEdit(lab: Lab, rounds: number, all: Measurements): Promise<void> {
  const { bench, folder, rows } = lab;
  console.error(`snapshots: an image with ${FILES} files`);
  const small = await manyFiles(lab, 'many.img', FILES, '8G');
  await apppot(lab, 'snap', 'base', small);
  const images = [small];
  if (rows.has('snap-edit-1g')) {
    const large = join(folder, 'large.img');
    await copyImage(small, large);
    const content = await realFiles(lab);
    const fill = `cp -a /mnt /usr/content; cp -a /mnt /usr/content.2`;
    await guest(lab, ['--image', large, '--write', '--bind', `${content}:/mnt:ro`], fill);
    await apppot(lab, 'snap', 'base', large);
    images.push(large);
  }
  for (const image of images)
    await guest(lab, ['--image', image, '--overlay', `${image}.cow`], 'echo new >/etc/apppot-bench');
  const stock = bench.columns.filter((column) => column.startsWith('stock'));
  if (stock.length > 0) await guest(lab, ['--image', small], `${OLD}base.list -C / -f /dev/null .`);
  for (let round = 1; round <= rounds; round += 1) {
    console.error(`snapshots: round ${round} of ${rounds}`);
    for (const column of stock) add(all, 'snap-edit', column, await oldWay(lab, small, column));
    for (const [index, image] of images.entries()) {
      const row = index === 0 ? 'snap-edit' : 'snap-edit-1g';
      const changes = join(folder, 'edit.tar.zst');
      add(all, row, 'ours', await apppot(lab, 'snap', 'changes', `${image}.cow:${image}`, '-o', changes));
      await rm(changes);
    }
  }
  add(all, 'snap-edit-1g', 'limit', median(all.get('snap-edit')?.ours ?? []));
  for (const image of images) await rm(image);
}

/** Milliseconds of a launch that writes the changes as GNU tar finds them. */
async function oldWay(lab: Lab, image: string, column: Column): Promise<number> {
  const { bench, folder } = lab;
  const cow = join(folder, 'old.cow');
  await copyImage(`${image}.cow`, cow);
  const pin = column === 'stock' ? ['--no-pin'] : [];
  const options = ['--kernel', bench.stock ?? '', ...pin, '--image', image, '--overlay', cow];
  const script = `cp base.list now.list; ${OLD}now.list --gzip -C / -f old.tar.gz .`;
  const ms = await guest(lab, options, script);
  const archive = join(folder, 'old.tar.gz');
  // With another device number tar would take everything for new.
  const { size } = await stat(archive);
  if (size > 5e6) throw new Error(`GNU tar wrote ${size} bytes for one small edit`);
  await rm(archive);
  await rm(cow);
  return ms;
}

/** Half a gigabyte of real files: tar and zstd natively and in a guest, our changes, and start-up with their layer. */
async function measureContent(lab: Lab, rounds: number, all: Measurements): Promise<void> {
  const { bench, folder, rows } = lab;
  console.error(`snapshots: ${CONTENT_MB} MB of changes`);
  const content = await realFiles(lab);
  const image = join(folder, 'plain.img');
  const cow = `${image}.cow`;
  await copyImage(bench.image, image);
  await apppot(lab, 'resize', image, '5G');
  await apppot(lab, 'snap', 'base', image);
  await guest(
    lab,
    ['--image', image, '--overlay', cow, '--bind', `${content}:/mnt:ro`],
    'cp -a /mnt /usr/content',
  );
  const changes = join(folder, 'content.tar.zst');
  for (let round = 1; round <= rounds; round += 1) {
    if (rows.has('snap-tar')) {
      if (bench.columns.includes('native'))
        add(
          all,
          'snap-tar',
          'native',
          await timed(['sh', '-c', 'tar -C "$0" -cf - . | zstd -q -T0 -c >"$1"', content, `${changes}.0`]),
        );
      const script = 'tar -C /usr -cf - content | zstd -q -T0 -c >plain.tar.zst';
      add(all, 'snap-tar', 'ours', await guest(lab, ['--image', image, '--overlay', cow], script));
      await rm(join(folder, 'plain.tar.zst'));
    }
    if (rows.has('snap-changes'))
      add(
        all,
        'snap-changes',
        'ours',
        await apppot(lab, 'snap', 'changes', `${cow}:${image}`, '-o', changes, '--force'),
      );
  }
  add(all, 'snap-changes', 'limit', median(all.get('snap-tar')?.ours ?? []));
  if (rows.has('snap-layer')) await measureLayer(lab, image, `${cow}:${image}`, changes, all);
}

/** What a layer of all that costs at start-up: the difference of two short times, so more samples than elsewhere. */
async function measureLayer(
  lab: Lab,
  image: string,
  source: string,
  changes: string,
  all: Measurements,
): Promise<void> {
  if ((await stat(changes).catch(() => undefined)) === undefined)
    await apppot(lab, 'snap', 'changes', source, '-o', changes);
  const layer = join(lab.folder, 'content.layer');
  await apppot(lab, 'snap', 'layer', changes, '-o', layer);
  for (let sample = 0; sample < 6; sample += 1) {
    const without = await guest(lab, ['--image', image], 'true');
    const ms = await guest(lab, ['--image', image, '--changes', layer], 'true');
    // The first pair brings the layer into the page cache, as its making or copying does.
    if (sample > 0) add(all, 'snap-layer', 'ours', ms - without);
  }
  add(all, 'snap-layer', 'limit', 100);
}

/** Memory of the desktop's programs for a million new files: writing changes, listing, checking, making a layer. */
async function measureMillion(lab: Lab, all: Measurements): Promise<void> {
  console.error('snapshots: a million files');
  const { bench, folder } = lab;
  const base = join(folder, 'million.img');
  await copyImage(bench.image, base);
  await apppot(lab, 'resize', base, '24G');
  await apppot(lab, 'snap', 'base', base);
  await makeFiles(lab, ['--image', base, '--overlay', `${base}.cow`], 1_000_000);
  const changes = join(folder, 'million.tar.zst');
  for (const [row, words] of [
    ['snap-memory-changes', ['changes', `${base}.cow:${base}`, '-o', changes]],
    ['snap-memory-verify', ['verify', changes]],
    ['snap-memory-inspect', ['inspect', '--stat', changes]],
    ['snap-memory-layer', ['layer', changes, '-o', join(folder, 'million.layer')]],
    ['snap-memory-merge', ['merge', base, changes]],
  ] as const) {
    // The others need the file that this one writes.
    if (!lab.rows.has(row) && row !== 'snap-memory-changes') continue;
    const started = performance.now();
    const peak = await peakMemory([process.execPath, CLI, 'snap', ...words, '--quiet'], folder);
    const seconds = (performance.now() - started) / 1000;
    console.error(`snapshots: ${row} ${peak.toFixed(0)} MB, ${seconds.toFixed(0)} s`);
    add(all, row, 'ours', peak);
    add(all, row, 'limit', 300);
  }
}

/** A copy of the benchmark's image with many small files in it. */
async function manyFiles(lab: Lab, name: string, files: number, size: string): Promise<string> {
  const image = join(lab.folder, name);
  await copyImage(lab.bench.image, image);
  await apppot(lab, 'resize', image, size);
  await makeFiles(lab, ['--image', image, '--write'], files);
  return image;
}

async function makeFiles(lab: Lab, options: readonly string[], files: number): Promise<void> {
  await copyFile(packageFile('bench', 'many.py'), join(lab.folder, 'many.py'));
  await guest(lab, options, `python3 many.py /usr/many ${files}`);
}

/** Files of this machine's /usr, as far as half a gigabyte goes. */
async function realFiles(lab: Lab): Promise<string> {
  const target = join(lab.folder, 'content');
  if ((await stat(target).catch(() => undefined)) !== undefined) return target;
  await mkdir(target);
  const script =
    `cd /usr && find lib share bin -xdev -type f -size -20M -printf '%s %p\\n' | LC_ALL=C sort -k2 |` +
    ` awk -v left=${CONTENT_MB * 1e6} '{ left -= $1; if (left < 0) exit; sub(/^[0-9]+ /, ""); print }' |` +
    ` tar -c -T - | tar -x -C "$0"`;
  await start(['sh', '-ec', script, target]);
  return target;
}

async function copyImage(from: string, to: string): Promise<void> {
  await start(['cp', '--sparse=always', '--reflink=auto', from, to]);
}

async function timed(words: readonly string[], cwd?: string): Promise<number> {
  const started = performance.now();
  await start(words, cwd === undefined ? {} : { cwd });
  return performance.now() - started;
}

/** Milliseconds of a command of ours. */
async function apppot({ folder }: Lab, ...words: readonly string[]): Promise<number> {
  return timed([process.execPath, CLI, ...words, '--quiet'], folder);
}

/** Milliseconds of a launch that runs a script as root, with the lab's folder as job folder. */
async function guest({ bench, folder }: Lab, options: readonly string[], script: string): Promise<number> {
  const fixed = ['--mem', '1G', '--no-stdin', '--quiet', '--network', 'none', '--as-root'];
  return timed([bench.start, ...options, ...fixed, '--', 'bash', '-ec', script], folder);
}
