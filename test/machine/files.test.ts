import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { guestParts, launch, newFolder, start, type GuestParts } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

/** Names that have broken launchers: blanks, separators of the kernel's parameters, quotes, UTF-8, length. */
const NAMES = [
  'two  blanks',
  'comma,colon:both',
  `quotes ' and "`,
  'dollar $HOME `id` \\ back',
  'Grüße 世界',
  'new\nline',
  '-leading dash',
  'x'.repeat(200),
];
const PLAIN_USER = 54321;
const asRoot = process.getuid?.() === 0;

/** A copy of the parts where everybody can read them. */
let publicParts: GuestParts | undefined;
function partsForAll(parts: GuestParts): GuestParts {
  if (publicParts !== undefined) return publicParts;
  const runtime = mkdtempSync(path.join(tmpdir(), 'apppot public '));
  chmodSync(runtime, 0o755);
  for (const name of ['linux', 'slirp', 'apppot-start']) {
    copyFileSync(path.join(parts.runtime, name), path.join(runtime, name));
    chmodSync(path.join(runtime, name), 0o755);
  }
  const image = path.join(runtime, 'base.img');
  execFileSync('cp', ['--sparse=always', parts.image, image]);
  chmodSync(image, 0o444);
  publicParts = { runtime, image, launcher: path.join(runtime, 'apppot-start') };
  return publicParts;
}
test.after.always(() => {
  if (publicParts !== undefined) rmSync(publicParts.runtime, { recursive: true });
});

async function folderOfPlainUser(t: ExecutionContext): Promise<string> {
  const cwd = await newFolder(t);
  execFileSync('chown', [`${PLAIN_USER}:${PLAIN_USER}`, cwd]);
  return cwd;
}

test.serial('job folder and image may have any name', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const base = await newFolder(t);
  for (const name of NAMES) {
    const cwd = path.join(base, name);
    mkdirSync(cwd);
    const image = `${name.slice(0, 190)}.img`;
    symlinkSync(parts.image, path.join(cwd, image));
    const ended = await launch(parts, ['--', 'sh', '-c', 'cat in >out'], {
      cwd: await writeFile(path.join(cwd, 'in'), name).then(() => cwd),
      image: `./${image}`,
    }).ended;
    t.deepEqual([ended.code, ended.stderr], [0, '']);
    t.is(await readFile(path.join(cwd, 'out'), 'utf8'), name);
  }
});

test.serial('kept changes and bound folders may have any name', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  for (const name of NAMES.filter((name) => !name.startsWith('-'))) {
    mkdirSync(path.join(cwd, name));
    await writeFile(path.join(cwd, name, 'in'), name);
    const cow = `${name.slice(0, 190)}.cow`;
    const bound = ['--bind', `${name}:/mnt/a b,c`, '--overlay', cow];
    const script = 'cat "/mnt/a b,c/in" && touch "/mnt/a b,c/made" && echo kept >/var/tmp/kept && sync';
    const first = await launch(parts, [...bound, '--', 'sudo', 'sh', '-c', script], { cwd }).ended;
    t.deepEqual([first.stderr, first.stdout.toString(), first.code], ['', name, 0]);
    t.true((await readdir(path.join(cwd, name))).includes('made'));
    const second = await launch(parts, ['--overlay', cow, '--', 'cat', '/var/tmp/kept'], { cwd }).ended;
    t.is(second.stdout.toString(), 'kept\n');
    rmSync(path.join(cwd, cow));
  }
});

test.serial("a plain user runs a guest, and the files of the job are that user's", async (t) => {
  const shared = guestParts(t);
  if (shared === undefined) return;
  if (!requireOrSkip(t, asRoot, 'only root can become another user')) return;
  const parts = partsForAll(shared);
  const cwd = await folderOfPlainUser(t);
  const script =
    'mkdir sub && echo x >sub/file && sudo touch by-root && id -u && id -un && test -O sub && sudo id -u';
  const ended = await launch(parts, ['--', 'sh', '-c', script], { cwd, uid: PLAIN_USER }).ended;
  t.deepEqual([ended.stderr, ended.stdout.toString(), ended.code], ['', `${PLAIN_USER}\nuser\n0\n`, 0]);
  for (const name of ['sub', 'sub/file', 'by-root']) t.is(statSync(path.join(cwd, name)).uid, PLAIN_USER);
  t.deepEqual((await readdir(cwd)).sort(), ['by-root', 'sub']);
});

test.serial("the guest's root cannot do more to the job folder than its user", async (t) => {
  const shared = guestParts(t);
  if (shared === undefined) return;
  if (!requireOrSkip(t, asRoot, 'only root can become another user')) return;
  const parts = partsForAll(shared);
  const cwd = await folderOfPlainUser(t);
  await writeFile(path.join(cwd, 'of-root'), 'secret', { mode: 0o600 });
  const script =
    'sudo cat of-root || sudo chmod 666 of-root || sudo sh -c "echo x >>of-root" || echo refused';
  const ended = await launch(parts, ['--', 'sh', '-c', script], { cwd, uid: PLAIN_USER }).ended;
  t.regex(ended.stdout.toString(), /^refused\n$/);
  t.is(await readFile(path.join(cwd, 'of-root'), 'utf8'), 'secret');
});

test.serial('two guests in one folder at once keep to their own', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const job = (name: string) => [
    '--',
    'sh',
    '-c',
    `echo ${name} >${name}; while [ ! -e a ] || [ ! -e b ]; do sleep 0.02; done; echo end ${name}`,
  ];
  const both = await Promise.all([
    launch(parts, job('a'), { cwd }).ended,
    launch(parts, job('b'), { cwd }).ended,
  ]);
  t.deepEqual(
    both.map((ended) => [ended.code, ended.stdout.toString()]),
    [
      [0, 'end a\n'],
      [0, 'end b\n'],
    ],
  );
  t.deepEqual((await readdir(cwd)).sort(), ['a', 'b']);
});

test.serial('a read-only image serves; writing into it with --write is refused', async (t) => {
  const shared = guestParts(t);
  if (shared === undefined) return;
  if (!requireOrSkip(t, asRoot, 'only root can become another user')) return;
  const parts = partsForAll(shared);
  const cwd = await folderOfPlainUser(t);
  const written = ['--', 'sh', '-c', 'echo x | sudo tee /etc/made && cat /etc/made'];
  const ended = await launch(parts, written, { cwd, uid: PLAIN_USER }).ended;
  t.deepEqual([ended.code, ended.stdout.toString()], [0, 'x\nx\n']);
  const again = await launch(parts, ['--', 'test', '-e', '/etc/made'], { cwd, uid: PLAIN_USER }).ended;
  t.is(again.code, 1);
  const refused = await launch(parts, ['--write', '--', 'true'], { cwd, uid: PLAIN_USER }).ended;
  t.is(refused.code, 125);
  t.regex(refused.stderr, /cannot open the image .*\n.*hint: Without --write/);
});

test.serial('an image on a read-only file system serves, and a read-only job folder too', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  if (!requireOrSkip(t, asRoot, 'only root can mount')) return;
  const cwd = await newFolder(t);
  const folder = path.join(cwd, 'media');
  mkdirSync(folder);
  const script = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" || exit 99; shift 2; exec "$@"';
  const wrapper = ['unshare', '-m', 'sh', '-c', script, 'sh', path.dirname(parts.image), folder];
  const image = path.join(folder, path.basename(parts.image));
  const ended = await launch(parts, ['--', 'echo', 'runs'], { cwd, wrapper, image }).ended;
  t.deepEqual([ended.stderr, ended.stdout.toString(), ended.code], ['', 'runs\n', 0]);
  const there = await launch(parts, ['--job-folder', folder, '--', 'sh', '-c', 'ls; touch made'], {
    cwd,
    wrapper,
    image,
  }).ended;
  t.regex(there.stdout.toString(), new RegExp(path.basename(parts.image)));
  t.not(there.code, 0);
});

test.serial('--write writes into the image, and it stays a clean file system', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const image = path.join(cwd, 'own.img');
  execFileSync('cp', ['--sparse=always', parts.image, image]);
  chmodSync(image, 0o600);
  const written = await launch(parts, ['--write', '--', 'sudo', 'sh', '-c', 'echo kept >/etc/kept'], {
    cwd,
    image,
  }).ended;
  t.is(written.code, 0);
  t.notThrows(() => execFileSync('/sbin/e2fsck', ['-fn', image], { stdio: 'pipe' }));
  const read = await launch(parts, ['--', 'cat', '/etc/kept'], { cwd, image }).ended;
  t.is(read.stdout.toString(), 'kept\n');
});

test.serial(
  'a bound folder is shown where it was asked for, and read-only where that was asked for',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    mkdirSync(path.join(cwd, 'data'));
    await writeFile(path.join(cwd, 'data', 'in'), 'data');
    const bind = ['--bind', 'data:/mnt/ro:ro', '--bind', 'data:/mnt/rw', '--'];
    const script =
      'cat /mnt/ro/in; sudo touch /mnt/ro/no 2>/dev/null && echo BAD; sudo mount -o remount,rw /mnt/ro; sudo touch /mnt/ro/no 2>/dev/null && echo BAD; touch /mnt/rw/yes';
    const ended = await launch(parts, [...bind, 'sh', '-c', script], { cwd }).ended;
    t.deepEqual([ended.stdout.toString(), ended.code], ['data', 0]);
    t.deepEqual((await readdir(path.join(cwd, 'data'))).sort(), ['in', 'yes']);
  },
);

test.serial('the guest cannot leave the job folder by hostfs', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const base = await newFolder(t);
  const cwd = path.join(base, 'job');
  mkdirSync(cwd);
  await writeFile(path.join(base, 'outside'), 'OUTSIDE');
  const script = `
    ln -s ../outside link; ln -s / root; ln -s '${base}' absolute
    cat link root/etc/hostname 2>/dev/null | grep OUTSIDE
    mkdir /tmp/m
    for source in .. ../.. / /.. ../outside '${base}' /etc /link /root /absolute /../../etc root absolute; do
      if sudo mount -t hostfs -o hostfs="$source" none /tmp/m 2>/dev/null; then
        sudo cat /tmp/m/outside /tmp/m/job/../outside 2>/dev/null
        sudo touch /tmp/m/../written /tmp/m/outside-made 2>/dev/null
        sudo umount /tmp/m
      fi
    done
    cat /home/user/job/../outside 2>/dev/null
    exit 0`;
  const ended = await launch(parts, ['--', 'bash', '-c', script], { cwd }).ended;
  t.deepEqual([ended.stdout.toString(), ended.code], ['', 0]);
  t.deepEqual((await readdir(base)).sort(), ['job', 'outside']);
});

test.serial('file operations of the job folder work as on a disk', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const script = `set -e
    mkdir -p a/b; echo x >a/b/f; mv a/b/f a/g; ln a/g hard; ln -s a/g soft; cat soft; chmod 640 a/g; stat -c %a hard
    truncate -s 5 a/g; stat -c %s hard; rm hard; rmdir a/b; touch -d '2001-02-03 04:05:06Z' a/g; stat -c %Y a/g
    cp a/g "$(printf 'odd\\001\\377name')"; ls | wc -l; rm -r a soft; [ ! -e a ]
    dd if=/dev/urandom of=big bs=1M count=20 2>/dev/null; sha256sum <big >sum; mkfifo pipe; (echo through >pipe &); cat pipe`;
  const ended = await start(t, parts, ['--', 'bash', '-c', script], { cwd });
  t.deepEqual(
    [ended.stderr, ended.stdout.toString(), ended.code],
    ['', 'x\n640\n5\n981173106\n3\nthrough\n', 0],
  );
  const sum = execFileSync('sha256sum', { input: await readFile(path.join(cwd, 'big')) }).toString();
  t.is(await readFile(path.join(cwd, 'sum'), 'utf8'), sum);
});
