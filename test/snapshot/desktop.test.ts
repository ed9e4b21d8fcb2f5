import test from 'ava';
import { existsSync } from 'node:fs';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/process/run.ts';
import { fileDigest } from '../../src/runtime/digest.ts';
import { removeLab, snapLab } from '../helpers/snap-lab.ts';

test.after.always(removeLab);

/** Everything that a file system holds, in a few commands. */
const EDIT = `
mkdir -p /opt/lab && cd /opt/lab
head -c 300000 /dev/urandom >big && ln big second && cp -p /bin/ls -- '-dash'
printf 'x' >"$(printf 'new\\nline')"
ln -s /nowhere dangling && mkfifo pipe && mknod null c 1 3
dd if=/dev/zero of=sparse bs=1 count=1 seek=3M 2>/dev/null
chmod 4755 ./-dash
rm /etc/motd
rm -r /usr/share/doc/bash && mkdir /usr/share/doc/bash && echo new >/usr/share/doc/bash/README
chmod 700 /srv || true
`;

test.serial('changes of a copy-on-write file, merged into a fresh copy, give the same system', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  await lab.guest(['--image', lab.image, '--overlay', join(lab.folder, 'one.cow')], EDIT);
  const pair = `one.cow:${lab.image}`;
  const written = await lab.json('snap', 'changes', pair, '-o', 'one.tar.zst');
  t.true(Number(written['added']) >= 8 && Number(written['deleted']) >= 1);
  const { stdout: listed } = await lab.apppot('snap', 'inspect', 'one.tar.zst');
  t.regex(listed, /^D etc\/motd$/m);
  t.regex(listed, /^A .* opt\/lab\/sparse/m);
  const verified = await lab.json('snap', 'verify', 'one.tar.zst');
  t.is(verified['base'], written['base']);
  await lab.copy('merged.img');
  await lab.json('snap', 'merge', 'merged.img', 'one.tar.zst');
  const merged = await lab.manifest('--image', 'merged.img');
  t.is(merged, await lab.manifest('--image', lab.image, '--overlay', join(lab.folder, 'one.cow')));
  t.regex(merged, /\/opt\/lab\/|\topt\/lab\//);
});

test.serial('changes are the same bytes when they are written again', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const pair = `one.cow:${lab.image}`;
  await lab.json('snap', 'changes', pair, '-o', 'again.tar.zst');
  const [one, again] = await Promise.all(
    ['one.tar.zst', 'again.tar.zst'].map((name) => readFile(join(lab.folder, name))),
  );
  t.true(one?.equals(again ?? Buffer.alloc(0)));
});

test.serial('a stack of changes is merged in order, and a base on top of it starts anew', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  await lab.copy('stack.img');
  await lab.json('snap', 'merge', 'stack.img', 'one.tar.zst');
  const { base } = await lab.json('snap', 'base', 'stack.img');
  const none = await lab.json('snap', 'changes', 'stack.img', '--dry-run');
  t.deepEqual([none['added'], none['changed'], none['deleted']], [0, 0, 0]);
  await lab.guest(['--image', 'stack.img', '--write'], 'echo two >/opt/lab/two; rm /opt/lab/null');
  const two = await lab.json('snap', 'changes', 'stack.img', '-o', 'two.tar.gz');
  t.is(two['base'], base);
  await lab.copy('fresh.img');
  const wrong = await lab.apppot('snap', 'merge', 'fresh.img', 'two.tar.gz', '--json');
  t.is(wrong.exitCode, 1);
  const { error } = JSON.parse(wrong.stderr.trim().split('\n').at(-1) ?? '') as {
    error: { code: string; message: string };
  };
  t.is(error.code, 'base-mismatch');
  t.true(error.message.includes(String(base)));
  await lab.json('snap', 'merge', 'fresh.img', 'one.tar.zst', 'two.tar.gz', '--force');
  t.is(await lab.manifest('--image', 'fresh.img'), await lab.manifest('--image', 'stack.img'));
});

test.serial('the guest’s own apppot-snap and the desktop read each other’s files', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const cow = ['--image', lab.image, '--overlay', join(lab.folder, 'own.cow')];
  await lab.guest(cow, 'echo mine >/opt/mine; /mnt/apppot-snap changes -o /srv/own.tar.gz');
  await lab.copy('own.img');
  await lab.json('snap', 'merge', 'own.img', 'own.tar.gz');
  const there = await lab.guest(['--image', 'own.img'], 'cat /opt/mine');
  t.is(there, 'mine\n');
  const back = await lab.guest(
    ['--image', lab.image],
    '/mnt/apppot-snap merge /srv/one.tar.zst >&2; ls /opt/lab/big',
  );
  t.is(back, '/opt/lab/big\n');
});

test.serial('a damaged file changes nothing and is called so', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const whole = await readFile(join(lab.folder, 'one.tar.zst'));
  await lab.copy('safe.img');
  const before = await fileDigest(join(lab.folder, 'safe.img'));
  for (const [name, bytes] of [
    ['short.tar.zst', whole.subarray(0, whole.length - 1000)],
    ['flipped.tar.zst', Buffer.from(whole).fill(0x55, 5000, 5001)],
  ] as const) {
    await writeFile(join(lab.folder, name), bytes);
    const { exitCode, stderr } = await lab.apppot('snap', 'merge', 'safe.img', name, '--json');
    t.is(exitCode, 1);
    t.regex(stderr, /"code":"archive"/);
  }
  t.is(await fileDigest(join(lab.folder, 'safe.img')), before);
});

test.serial('an output that is there stays, unless --force says otherwise', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const file = join(lab.folder, 'there.tar');
  await writeFile(file, 'mine');
  const refused = await lab.apppot('snap', 'changes', lab.image, '-o', file, '--json');
  t.regex(refused.stderr, /"code":"exists"/);
  t.is(await readFile(file, 'utf8'), 'mine');
  await lab.json('snap', 'changes', lab.image, '-o', file, '--force');
  t.not(await readFile(file, 'utf8'), 'mine');
});

test.serial('a launch mounts the layer that was made of a changes file, and it is made once', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined || !existsSync('/usr/bin/sqfstar')) return;
  const words = [
    'run',
    '--image',
    lab.image,
    '--changes',
    'one.tar.zst',
    '--',
    'cat',
    '/usr/share/doc/bash/README',
  ];
  const first = await lab.apppot(...words);
  t.is(first.stdout, 'new\n');
  t.regex(first.stderr, /Making a layer/);
  const second = await lab.apppot(...words);
  t.is(second.stdout, 'new\n');
  t.notRegex(second.stderr, /Making a layer/);
  const { layer } = await lab.json('snap', 'layer', 'one.tar.zst');
  t.true((await lab.json('snap', 'verify', String(layer)))['layer']);
  await copyFile(String(layer), join(lab.folder, 'kept.layer'));
  await lab.apppot('cache', 'clean', 'layers');
  await lab.json('snap', 'layer', 'one.tar.zst', '-o', 'one.layer');
  // sqfstar's inode tables differ by a few bytes from run to run, so the content is compared.
  const lists = ['kept.layer', 'one.layer'].map((name) =>
    run('unsquashfs', ['-UTC', '-lln', join(lab.folder, name)]),
  );
  const [a, b] = (await Promise.all(lists)).map(({ stdout }) =>
    stdout.slice(stdout.indexOf('squashfs-root')),
  );
  t.is(a, b);
  t.true((await lab.json('snap', 'verify', 'one.layer'))['layer']);
});
