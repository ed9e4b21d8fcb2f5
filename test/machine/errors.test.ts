import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { guestParts, launch, newFolder, readOutcome, start, type StartOptions } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

const TRUE = ['--', 'true'];

/** Starts what cannot work, and checks everything that such an end has to have. */
async function fails(
  t: ExecutionContext,
  code: string,
  args: readonly string[],
  options: StartOptions & { cwd: string; hint?: boolean },
): Promise<string> {
  const parts = guestParts(t);
  if (parts === undefined) return '';
  const words = ['--outcome', 'out.json', ...args];
  const ended = await launch(parts, words, options).ended;
  const outcome = await readOutcome(path.join(options.cwd, 'out.json'));
  t.deepEqual(
    [outcome.error?.code, ended.code, outcome.exitCode, outcome.origin],
    [code, 125, 125, 'launcher'],
  );
  t.regex(ended.stderr, /^apppot-start: \S/);
  if (options.hint !== false) t.regex(ended.stderr, /^apppot-start: hint: \S/m);
  t.is(ended.stdout.toString(), '');
  return ended.stderr;
}

/** An ext4 image with what `make` puts into a folder. */
async function smallImage(t: ExecutionContext, make: (folder: string) => void): Promise<string> {
  const base = await newFolder(t);
  const folder = path.join(base, 'root');
  mkdirSync(folder);
  for (const name of ['dev', 'proc', 'sys', 'run', 'tmp']) mkdirSync(path.join(folder, name));
  make(folder);
  const image = path.join(base, 'small.img');
  writeFileSync(image, '');
  truncateSync(image, 64 * 1024 * 1024);
  execFileSync('/sbin/mke2fs', ['-q', '-F', '-t', 'ext4', '-d', folder, image], { stdio: 'pipe' });
  return image;
}

test.serial('an image that is not there, is no image, or is no file', async (t) => {
  if (guestParts(t) === undefined) return;
  const cwd = await newFolder(t);
  writeFileSync(path.join(cwd, 'text'), 'this is no image\n'.repeat(500));
  writeFileSync(path.join(cwd, 'empty'), '');
  await fails(t, 'image-missing', TRUE, { cwd, image: 'nowhere.img' });
  await fails(t, 'image-invalid', TRUE, { cwd, image: 'text' });
  await fails(t, 'image-invalid', TRUE, { cwd, image: 'empty' });
  await fails(t, 'image-invalid', TRUE, { cwd, image: '.' });
  await fails(t, 'image-invalid', TRUE, { cwd, image: '/dev/zero' });
});

test.serial('an image whose file system is broken', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const image = path.join(cwd, 'broken.img');
  // The magic number of ext4 alone, in the right place.
  const bytes = Buffer.alloc(1024 * 1024);
  bytes.writeUInt16LE(0xef53, 0x438);
  writeFileSync(image, bytes);
  t.regex(await fails(t, 'image-invalid', TRUE, { cwd, image }), /file system/);
});

test.serial('an image without AppPot in it', async (t) => {
  if (guestParts(t) === undefined) return;
  const cwd = await newFolder(t);
  const image = await smallImage(t, () => undefined);
  t.regex(await fails(t, 'image-no-apppot', TRUE, { cwd, image }), /no AppPot/);
});

test.serial('an image of another processor architecture', async (t) => {
  if (guestParts(t) === undefined) return;
  const cwd = await newFolder(t);
  const image = await smallImage(t, (folder) => {
    const init = path.join(folder, 'usr/lib/apppot/apppot-init');
    mkdirSync(path.dirname(init), { recursive: true });
    mkdirSync(path.join(folder, 'bin'));
    writeFileSync(init, '#!/bin/sh\n');
    // An ELF header of a 64-bit ARM program: what /bin/sh is in such an image.
    const header = Buffer.alloc(4096);
    header.write('\x7fELF\x02\x01\x01', 'latin1');
    header.writeUInt16LE(2, 16);
    header.writeUInt16LE(183, 18);
    header.writeUInt32LE(1, 20);
    header.writeUInt16LE(64, 52);
    writeFileSync(path.join(folder, 'bin/sh'), header);
    for (const file of [init, path.join(folder, 'bin/sh')]) chmodSync(file, 0o755);
  });
  t.regex(await fails(t, 'image-architecture', TRUE, { cwd, image }), /architecture/);
});

test.serial('a kernel that is not there, or is no kernel', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const missing = await start(t, parts, ['--kernel', 'nowhere', ...TRUE], { cwd });
  t.is(missing.code, 125);
  t.regex(missing.stderr, /there is no kernel nowhere\n.*hint: /);
  const own = path.join(cwd, 'parts');
  mkdirSync(own);
  for (const name of ['slirp', 'apppot-start'])
    copyFileSync(path.join(parts.runtime, name), path.join(own, name));
  writeFileSync(path.join(own, 'linux'), 'no program', { mode: 0o755 });
  const launcher = path.join(own, 'apppot-start');
  const other = await launch({ ...parts, launcher }, ['--outcome', 'out.json', ...TRUE], { cwd }).ended;
  t.is(other.code, 125);
  t.regex(other.stderr, /is no program of this machine\n.*hint: /);
  t.is((await readOutcome(path.join(cwd, 'out.json'))).error?.code, 'kernel-invalid');
});

test.serial('a memory folder without the right to execute does not matter to our kernel', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  if (!requireOrSkip(t, process.getuid?.() === 0, 'only root can mount')) return;
  const script = 'mount -t tmpfs -o noexec none /dev/shm && exec "$@"';
  const wrapper = ['unshare', '-m', 'sh', '-c', script, 'sh'];
  const ended = await start(t, parts, ['--', 'echo', 'runs'], { wrapper });
  t.deepEqual([ended.stdout.toString(), ended.stderr, ended.code], ['runs\n', '', 0]);
});

test.serial(
  'a job that needs more memory than the guest has is killed there, and that is said',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    const words = [
      '--mem',
      '128M',
      '--outcome',
      'out.json',
      '--',
      'sh',
      '-c',
      'exec head -c 400M /dev/zero | tail',
    ];
    const ended = await launch(parts, words, { cwd, limit: 120_000 }).ended;
    const outcome = await readOutcome(path.join(cwd, 'out.json'));
    t.true(outcome.oomKills > 0 || outcome.error?.code === 'guest-memory');
    t.regex(ended.stderr, /memory/i);
    t.not(ended.code, 0);
  },
);

test.serial('a panic shows the last lines of the console and keeps the log', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const said = await fails(
    t,
    'kernel-panic',
    ['--', 'sudo', 'sh', '-c', 'echo c >/proc/sysrq-trigger; sleep 20'],
    {
      cwd,
      hint: false,
    },
  );
  t.regex(said, /panic/);
  const [run] = await readdir(path.join(cwd, '.apppot'));
  t.true((await readdir(path.join(cwd, '.apppot', run ?? ''))).includes('console.log'));
});

test.serial('a guest that switches itself off ended before its job', async (t) => {
  if (guestParts(t) === undefined) return;
  const cwd = await newFolder(t);
  await fails(t, 'guest-lost', ['--', 'sudo', 'sh', '-c', 'echo o >/proc/sysrq-trigger; sleep 20'], {
    cwd,
    hint: false,
  });
});

test.serial('a boot that takes longer than --boot-timeout', async (t) => {
  if (guestParts(t) === undefined) return;
  const cwd = await newFolder(t);
  // A first process that waits for its console for ever.
  await fails(t, 'boot-timeout', ['--boot-timeout', '2', '-X', 'init=/bin/cat', ...TRUE], { cwd });
});

test.serial('kept changes: no such file type, and another image under the same name', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  writeFileSync(path.join(cwd, 'text.cow'), 'this is no copy-on-write file\n'.repeat(500));
  await fails(t, 'cow-invalid', ['--overlay', 'text.cow', ...TRUE], { cwd });
  await launch(parts, ['--overlay', 'kept.cow', ...TRUE], { cwd }).ended;
  const image = await smallImage(t, () => undefined);
  await fails(t, 'cow-mismatch', ['--overlay', 'kept.cow', ...TRUE], { cwd, image });
});

test.serial('two guests of one name in one folder', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const first = launch(parts, ['--id', 'same', '--', 'sh', '-c', 'echo ready; sleep 20'], { cwd });
  await first.shows('ready');
  await fails(t, 'id-taken', ['--id', 'same', ...TRUE], { cwd });
  first.child.kill('SIGTERM');
  t.is((await first.ended).code, 143);
});

test.serial('wrong options end with a sentence, code 125 and nothing started', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const wrong = [
    ['--nonsense'],
    ['--mem', 'much'],
    ['--mem', '1M'],
    ['--mem'],
    ['--cpus', '0'],
    ['--cpus', '-1'],
    ['--cpus', 'two'],
    ['--time', 'long'],
    ['--time', '0'],
    ['--time', '1:2:3:4'],
    ['--grace', 'x'],
    ['--network', 'tap'],
    ['--bind', 'relative:also-relative'],
    ['--bind', '/not/there:/mnt'],
    ['-p', '80'],
    ['-p', '99999:1'],
    ['-p', '0:80'],
    ['-p', '1:2:3'],
    ['-p', ':80'],
    ['-e', '=x'],
    ['-e', 'A B'],
    ['--env-file', '/not/there'],
    ['--job-folder', '/not/there'],
    ['--id', '../escape'],
    ['--quiet=yes'],
    ['--write', '--overlay', 'cow'],
    ['--scratch', 'big'],
  ];
  for (const options of wrong) {
    const cwd = await newFolder(t);
    const ended = await launch(parts, [...options, ...TRUE], { cwd }).ended;
    t.deepEqual([options, ended.code], [options, 125]);
    t.regex(ended.stderr, /^apppot-start: [^\n]*\n(apppot-start: hint: [^\n]*\n)?$/);
    t.deepEqual([options, await readdir(cwd)], [options, []]);
  }
});

test.serial('a job folder where nothing may be written: the run folder goes elsewhere', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  if (!requireOrSkip(t, process.getuid?.() === 0, 'only root can mount')) return;
  const cwd = await newFolder(t);
  symlinkSync('/etc/passwd', path.join(cwd, 'link'));
  const script = 'mount --bind . . && mount -o remount,bind,ro . && cd . && exec "$@"';
  const wrapper = ['unshare', '-m', 'sh', '-c', script, 'sh'];
  const job = ['--job-folder', cwd, '--', 'sh', '-c', 'touch made 2>/dev/null; ls'];
  const ended = await launch(parts, job, { cwd, wrapper }).ended;
  t.deepEqual([ended.stdout.toString(), ended.code], ['link\n', 0]);
});

/** Words that give a launch a /dev/shm of its own, in a mount name space that goes with it. */
function withShm(options: string): readonly string[] {
  const script = 'mount -t tmpfs -o "$0" shm /dev/shm && exec "$@"';
  return ['unshare', '--mount', '/bin/sh', '-c', script, options];
}

test.serial(
  "a /dev/shm without room, or mounted noexec, stops the distribution's kernel, and not ours",
  async (t) => {
    const parts = guestParts(t);
    const stock = '/usr/bin/linux.uml';
    if (!requireOrSkip(t, existsSync(stock), 'the package user-mode-linux is not installed')) return;
    if (!requireOrSkip(t, process.getuid?.() === 0, 'mount needs root')) return;
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    const words = ['--kernel', stock, '--mem', '512', ...TRUE];
    await fails(t, 'ram-space', words, { cwd, wrapper: withShm('size=16M') });
    await fails(t, 'ram-noexec', words, { cwd, wrapper: withShm('size=600M,noexec') });
    for (const options of ['size=1M', 'size=1M,noexec']) {
      const ended = await start(t, parts, ['--mem', '512', ...TRUE], { cwd, wrapper: withShm(options) });
      t.log(ended.stderr);
      t.is(ended.code, 0);
    }
  },
);
