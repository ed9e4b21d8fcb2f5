/** Thirty kills of submissions and of fetches on each kind of target: the full form of test/grid/kills.test.ts. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cacheFolder } from '../../src/config/paths.ts';

const lab = 'test/grid-lab/lab.sh';
const given = process.env['APPPOT_TEST_GRID'];
const out = (file: string, ...args: readonly string[]): string =>
  execFileSync(file, args, { encoding: 'utf8' }).trim();

const image = process.env['APPPOT_TEST_IMAGE'] ?? cacheFolder('test', 'test.img');
const runtime =
  process.env['APPPOT_TEST_RUNTIME'] ?? out(process.execPath, 'dist/src/cli/main.js', 'runtime', 'path');
const grid = given ?? out('bash', lab, 'up');
try {
  const { status } = spawnSync('npx', ['ava', '--timeout=60m', 'test/grid/kills.test.ts'], {
    stdio: 'inherit',
    env: {
      ...process.env,
      ...{ APPPOT_TEST_REQUIRE: 'all', APPPOT_TEST_KILLS: process.env['APPPOT_TEST_KILLS'] ?? '30' },
      ...{ APPPOT_TEST_IMAGE: image, APPPOT_TEST_RUNTIME: runtime, APPPOT_TEST_GRID: grid },
    },
  });
  process.exitCode = status ?? 1;
} finally {
  if (given === undefined) spawnSync('bash', [lab, 'down'], { stdio: 'inherit' });
}
