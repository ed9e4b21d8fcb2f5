import test from 'ava';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';

test('the packed program works after npm install -g', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'apppot test '));
  // npm's own settings (registry, certificates) may come by environment.
  const env = { ...process.env, npm_config_update_notifier: 'false', npm_config_fetch_retries: '1' };
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: packageFile(),
    env,
  });
  const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  const files = packed.files.map(({ path }) => path);
  for (const wanted of [
    'image/host/apppot-start',
    'image/slirp/job.c',
    'modules/debian',
    'image/rootstrap.conf',
  ]) {
    t.true(files.includes(wanted));
  }
  t.false(files.some((path) => path.startsWith('dist/test') || path.startsWith('test/')));
  await run('npm', ['install', '-g', '--prefix', folder, join(folder, packed.filename)], { env });
  const program = join(folder, 'bin', 'apppot');
  t.regex((await run(program, ['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
  t.regex((await run(program, ['run', '--help'])).stdout, /--image/);
  await rm(folder, { recursive: true });
});
