import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { packageFile } from '../src/config/paths.ts';
import { start } from './processes.ts';
import { add, type Measurements } from './table.ts';

/** Seconds that a program takes. */
async function seconds(words: readonly string[], cwd: string): Promise<number> {
  const started = performance.now();
  await start(words, { cwd });
  return (performance.now() - started) / 1000;
}

/** Times of image builds, against the bare mmdebstrap call with the same packages. */
export async function measureBuilds(rows: ReadonlySet<string>, all: Measurements): Promise<void> {
  const wanted = ['build-unshare', 'build-uml', 'build-cached'].filter((row) => rows.has(row));
  if (wanted.length === 0) return;
  console.error('image builds');
  const folder = await mkdtemp(join(tmpdir(), 'apppot-bench-build-'));
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  const build = (...words: string[]): Promise<number> =>
    seconds([process.execPath, cli, 'build-image', '--force', ...words], folder);
  try {
    const plan = await start([process.execPath, cli, 'build-image', '--dry-run', '--json'], { cwd: folder });
    const { codename, packages } = JSON.parse(plan.stdout) as { codename: string; packages: string[] };
    const words = [
      'mmdebstrap',
      '--variant=minbase',
      `--include=${packages.join(',')}`,
      codename,
      'bare.tar',
    ];
    const bare = await seconds(words, folder);
    for (const row of wanted) {
      if (row === 'build-cached') {
        await build('-o', 'cached.img');
        add(all, row, 'ours', await build('-o', 'cached.img'));
        add(all, row, 'limit', 5);
      } else {
        add(all, row, 'native', bare);
        add(all, row, 'ours', await build('--no-cache', '--driver', row.slice(6), '-o', `${row}.img`));
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
