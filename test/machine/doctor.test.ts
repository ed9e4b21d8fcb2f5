import test from 'ava';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { newFolder } from '../helpers/guest.ts';

const CLI = packageFile('dist', 'src', 'cli', 'main.js');

test('doctor looks at everything, and every finding that is not "ok" can be told from the rest', async (t) => {
  const { stdout } = await run(process.execPath, [CLI, 'doctor', '--json'], { okCodes: [0, 1] });
  const checks = JSON.parse(stdout) as { name: string; state: string; found: string }[];
  const names = checks.map(({ name }) => name);
  for (const name of ['runtime', 'confinement', 'namespaces', 'memory', 'mappings', 'processors']) {
    t.true(names.includes(name));
  }
  for (const { state, found } of checks) {
    t.true(['ok', 'slow', 'no'].includes(state));
    t.true(found.length > 5);
  }
});

test('doctor ends with 1 where no kernel can be found', async (t) => {
  const env = {
    XDG_CACHE_HOME: await newFolder(t),
    PATH: '/nonexistent',
    APPPOT_KERNEL: '',
    APPPOT_RUNTIME: '',
  };
  const result = await run(process.execPath, [CLI, 'doctor', '--json'], { env, okCodes: [0, 1] });
  const [runtime] = JSON.parse(result.stdout) as [{ name: string; state: string }];
  t.is(runtime.name, 'runtime');
  // The distribution's kernel, where it is installed, is found beside PATH too.
  t.is(result.exitCode, runtime.state === 'no' ? 1 : 0);
});

test('cache du counts, clean --dry-run removes nothing, and clean leaves the runtime', async (t) => {
  const folder = await newFolder(t);
  const env = { XDG_CACHE_HOME: folder };
  for (const kind of ['images', 'runtime']) {
    await mkdir(join(folder, 'apppot', kind), { recursive: true });
    await writeFile(join(folder, 'apppot', kind, 'file'), 'x'.repeat(10_000));
  }
  const du = async (): Promise<Map<string, number>> => {
    const { stdout } = await run(process.execPath, [CLI, 'cache', 'du', '--json'], { env });
    return new Map(
      (JSON.parse(stdout) as { kind: string; bytes: number }[]).map(({ kind, bytes }) => [kind, bytes]),
    );
  };
  t.true(((await du()).get('images') ?? 0) >= 10_000);
  await run(process.execPath, [CLI, 'cache', 'clean', '--dry-run'], { env });
  t.true(((await du()).get('images') ?? 0) >= 10_000);
  await run(process.execPath, [CLI, 'cache', 'clean'], { env });
  t.is((await du()).get('images'), 0);
  t.true(((await du()).get('runtime') ?? 0) >= 10_000);
  const wrong = await run(process.execPath, [CLI, 'cache', 'clean', '../..'], { env, okCodes: [2] });
  t.regex(wrong.stderr, /There is no kind/);
});
