import test, { type ExecutionContext } from 'ava';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../../src/errors.ts';
import { LocalTransport } from '../../src/grid/transport/local.ts';
import { createOpensshTransport } from '../../src/grid/transport/openssh.ts';
import { createSsh2Transport } from '../../src/grid/transport/ssh2.ts';
import type { Transport } from '../../src/grid/transport/transport.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { startSshd, type Sshd } from '../helpers/sshd.ts';

const { signal } = new AbortController();

/** Names as a hostile, or merely careless, user makes them. */
const NAMES = [
  'with blank',
  "it's",
  'a"b',
  'two\nlines',
  '-rf',
  'größe',
  '$(touch x)',
  '`id`',
  'a\\b!c',
  '*',
];

let sshd: Sshd | undefined;

test.before(async (t) => {
  sshd = await startSshd(t);
});
test.after.always(async () => {
  await sshd?.stop();
});

type Connect = (config: string) => Transport;
const KINDS: Readonly<Record<string, Connect>> = {
  local: () => new LocalTransport(),
  ssh2: (config) => createSsh2Transport({ host: 'lab', files: [config] }),
  openssh: (config) => createOpensshTransport({ host: 'lab', files: [config] }),
};

for (const [kind, connect] of Object.entries(KINDS)) {
  type Work = (t: ExecutionContext, there: Transport, lab: Sshd) => Promise<void>;
  const on = (title: string, work: Work): void => {
    test(`${kind}: ${title}`, async (t) => {
      if (!requireOrSkip(t, sshd !== undefined, 'no sshd') || sshd === undefined) return;
      const there = connect(sshd.config);
      try {
        await work(t, there, sshd);
      } finally {
        await there.close();
      }
    });
  };

  on('words arrive as they are, with input, output and code', async (t, there) => {
    const result = await there.run(['printf', '%s|', ...NAMES, ''], { signal });
    t.is(result.stdout, [...NAMES, ''].map((name) => `${name}|`).join(''));
    const shell = await there.run(['sh', '-c', 'cat; echo oops >&2; exit 7'], { signal, stdin: 'in\0put\n' });
    t.deepEqual(shell, { code: 7, stdout: 'in\0put\n', stderr: 'oops\n' });
    t.is((await there.run(['/no/such/program'], { signal })).code, 127);
  });

  on('a program that hangs ends with transport, and an abort with interrupted', async (t, there) => {
    const late = await t.throwsAsync(there.run(['sleep', '20'], { signal, timeout: 300 }), {
      instanceOf: ApppotError,
    });
    t.is(late.code, 'transport');
    const abort = new AbortController();
    setTimeout(() => {
      abort.abort(new ApppotError('interrupted', 'Ctrl-C'));
    }, 300);
    const stopped = await t.throwsAsync(there.run(['sleep', '20'], { signal: abort.signal }), {
      instanceOf: ApppotError,
    });
    t.is(stopped.code, 'interrupted');
  });

  on('files of any name go there and come back, whole, with their mode', async (t, there, lab) => {
    const folder = await lab.newFolder();
    const content = Buffer.alloc(300_000, 'apppot\0\n');
    for (const name of NAMES) {
      const path = join(folder, name, name);
      await there.makeFolder(join(folder, name), signal);
      await there.put(content, path, { signal, mode: 0o750 });
      t.true((await readFile(path)).equals(content), name);
      const { mode } = await stat(path);
      t.is(mode & 0o777, 0o750);
      t.is((await stat(join(folder, name))).mode & 0o777, 0o700);
      const sums: number[] = [];
      await there.put(path, `${path}2`, { signal, onBytes: (sum) => sums.push(sum) });
      t.is(sums.at(-1), content.length);
      await there.get(`${path}2`, join(folder, 'back'), { signal });
      t.true((await readFile(join(folder, 'back'))).equals(content), name);
      const part = await there.read(path, { signal, offset: 6, limit: 2 });
      t.deepEqual(part, Buffer.from('\0\n'));
      t.deepEqual(await there.read(path, { signal, offset: 300_001 }), Buffer.alloc(0));
      t.is((await there.stat(path, signal))?.size, content.length);
      await there.remove(join(folder, name), signal);
      t.is(await there.stat(path, signal), undefined);
    }
    await there.put(new Uint8Array(), join(folder, 'empty'), { signal });
    await there.get(join(folder, 'empty'), join(folder, 'empty2'), { signal });
    t.is((await stat(join(folder, 'empty2'))).size, 0);
    t.deepEqual((await readdir(folder)).sort(), ['back', 'empty', 'empty2'], 'no part is left behind');
  });

  on('a folder is listed with its links, which are never followed', async (t, there, lab) => {
    const folder = await lab.newFolder();
    await there.makeFolder(join(folder, 'a\nb'), signal);
    await there.put(Buffer.from('12345'), join(folder, 'a\nb', 'file'), { signal });
    await there.run(['ln', '-s', '/etc', join(folder, 'link')], { signal });
    const found = await there.list(folder, signal);
    t.deepEqual(
      found
        ?.map(({ path, type }) => [path, type])
        .sort((one, other) => (String(one) < String(other) ? -1 : 1)),
      [
        ['a\nb', 'folder'],
        ['a\nb/file', 'file'],
        ['link', 'link'],
      ],
    );
    const file = found?.find(({ path }) => path === 'a\nb/file');
    t.is(file?.size, 5);
    t.true(Math.abs((file?.mtime ?? 0) - Date.now() / 1000) < 10);
    t.is(await there.list(join(folder, 'none'), signal), undefined);
    await there.remove(folder, signal);
    t.true((await stat('/etc/passwd')).isFile());
    await there.remove(folder, signal);
  });

  on('what is not there, or may not be written, is said as such', async (t, there, lab) => {
    const folder = await lab.newFolder();
    t.is(await there.read(join(folder, 'none'), { signal }), undefined);
    const missing = await t.throwsAsync(there.get(join(folder, 'none'), join(folder, 'x'), { signal }), {
      instanceOf: ApppotError,
    });
    t.is(missing.code, 'not-found');
    const full = await t.throwsAsync(there.put(Buffer.alloc(10), '/dev/full/x', { signal }), {
      instanceOf: ApppotError,
    });
    t.not(full.code, 'transport');
    t.deepEqual(await readdir(folder), []);
  });

  on('the home folder is known', async (t, there) => {
    t.true((await stat(await there.home(signal))).isDirectory());
  });
}
