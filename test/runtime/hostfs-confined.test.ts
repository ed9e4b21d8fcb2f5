import test from 'ava';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/process/run.ts';
import { findRuntime } from '../../src/runtime/find.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { findBusybox, tinyRoot } from '../helpers/tiny.ts';

test("the guest's root reaches nothing outside of the folders that it was given", async (t) => {
  const runtime = await findRuntime();
  if (!requireOrSkip(t, runtime.origin !== 'distribution', 'needs a built runtime')) return;
  const busybox = await findBusybox();
  if (!requireOrSkip(t, busybox !== '', 'needs busybox')) return;
  const folder = await mkdtemp(join(tmpdir(), 'apppot-test-'));
  try {
    await tinyRoot(join(folder, 'root'), busybox, 'try-to-escape');
    for (const name of ['ro', 'rw/deep', 'secret']) await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, 'secret', 'secret'), 'SECRET');
    await writeFile(join(folder, 'ro', 'file'), 'as it was');
    await writeFile(join(folder, 'rw', 'file'), 'as it was');
    const kernel = runtime.kernel;
    const { stdout, stderr } = await run(
      kernel,
      [
        ...['mem=128M', 'quiet', 'con=null', 'con0=null,fd:1', 'uml_dir=.'],
        ...['root=/dev/root', 'rootfstype=hostfs', 'rw', 'init=/init'],
        `hostfs=${join(folder, 'root')}`,
        `hostfs_bind=ro:ro=${join(folder, 'ro')}`,
        `hostfs_bind=rw:rw=${join(folder, 'rw')}`,
        ...['--', join(folder, 'secret')],
      ],
      { cwd: folder, okCodes: [0, 1] },
    );
    const tries = [...stdout.matchAll(/^([a-z-]+): (done|refused)/gm)];
    const outcomes = tries.map(([, name = '', how = '']): [string, string] => [name, how]);
    const allowed = ['sub-folder', 'name', 'write', 'time'];
    t.regex(stdout, /finished/, `console: ${stderr}`);
    t.is(outcomes.length, 27, `console: ${stdout}`);
    for (const [name, how] of outcomes) {
      t.is(how, allowed.includes(name) ? 'done' : 'refused', `try ${name}`);
    }
    t.notRegex(stdout, /SECRET/);
    t.is(await readFile(join(folder, 'ro', 'file'), 'utf8'), 'as it was');
    t.deepEqual(await readdir(join(folder, 'ro')), ['file']);
    const again = join(folder, 'rw', 'again');
    t.is(await readFile(again, 'utf8'), 'changed\n');
    t.is((await stat(again)).mtime.getUTCFullYear(), 2001);
    t.is((await stat(again)).nlink, 2);
    t.deepEqual(await readdir(join(folder, 'secret')), ['secret']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a folder that cannot be opened ends the kernel before it starts', async (t) => {
  const { kernel, origin } = await findRuntime();
  if (!requireOrSkip(t, origin !== 'distribution', 'needs a built runtime')) return;
  for (const [option, words] of [
    ['hostfs=/nonexistent', /hostfs: cannot open the folder \/nonexistent/],
    ['hostfs_bind=a:ro=/nonexistent', /hostfs_bind: cannot open the folder \/nonexistent/],
    ['hostfs_bind=a:rx=/', /is not NAME:ro=DIR or NAME:rw=DIR/],
    ['hostfs_bind=A:ro=/', /is not NAME:ro=DIR or NAME:rw=DIR/],
  ] as const) {
    const result = await run(kernel, ['mem=64M', option], { okCodes: [1] });
    t.regex(result.stdout + result.stderr, words);
  }
});
