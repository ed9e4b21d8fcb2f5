import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { fileDigest } from '../../src/runtime/digest.ts';
import { plainPerson, publicPackage } from '../helpers/cli.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { changesEnd, changesStart } from '../helpers/tar.ts';
import { removeLab, snapEnvironment, snapLab, type SnapLab } from '../helpers/snap-lab.ts';

test.after.always(removeLab);

const CLI = packageFile('dist', 'src', 'cli', 'main.js');

/** The code of the error that a call with --json ended with. */
function codeIn(stderr: string): string {
  const { error } = JSON.parse(stderr.trim().split('\n').at(-1) ?? '') as { error: { code: string } };
  return error.code;
}

/** A changes file with one file of letters: `bytes` (a multiple of a megabyte) that take next to nothing. */
async function writeBomb(file: string, base: string, bytes: number): Promise<void> {
  const folder = { name: 'opt/', type: '5', mode: 0o755 };
  const start = changesStart(base, [folder, { name: 'opt/bomb', size: bytes }]);
  const hash = createHash('sha256').update(start);
  const block = Buffer.alloc(1 << 20, 'bomb');
  const zstd = spawn('zstd', ['-q', '-o', file], { stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = once(zstd, 'close');
  zstd.stdin.write(start);
  for (let left = bytes; left > 0; left -= block.length) {
    hash.update(block);
    if (!zstd.stdin.write(block)) await once(zstd.stdin, 'drain');
  }
  zstd.stdin.end(changesEnd(3, hash.digest('hex')));
  await ended;
}

/** A shell in a session, with these lines typed. */
async function shell(lab: SnapLab, words: readonly string[], lines: string): Promise<string> {
  const child = spawn(process.execPath, [CLI, 'shell', ...words], {
    cwd: lab.folder,
    env: { PATH: process.env['PATH'], ...snapEnvironment(lab.parts, lab.folder) },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stdin.end(`${lines}\nexit\n`);
  await once(child, 'close');
  return Buffer.concat(chunks).toString();
}

test.serial('a full disk here is called so, leaves the old state and nothing else', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined || !requireOrSkip(t, process.getuid?.() === 0, 'needs root')) return;
  const random = 'head -c 30000000 /dev/urandom >/opt/random';
  await lab.guest(['--image', lab.image, '--overlay', join(lab.folder, 'random.cow')], random);
  const pair = `random.cow:${lab.image}`;
  await lab.json('snap', 'changes', pair, '-o', 'random.tar.zst');
  const disk = join(lab.folder, 'small disk');
  await mkdir(disk);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=10m', 'none', disk]);
  try {
    for (const output of ['-o a.tar.zst', '-o a.tar.gz', '-o a.tar', '--oci a']) {
      const [option = '', name = ''] = output.split(' ');
      const full = await lab.apppot('snap', 'changes', pair, option, join(disk, name), '--json');
      t.is(codeIn(full.stderr), 'no-space', `with ${output}`);
      t.deepEqual(await readdir(disk), [], `with ${output}`);
    }
    const cow = join(disk, 'x.cow');
    await lab.guest(['--image', lab.image, '--overlay', cow], 'echo x >/opt/x');
    const before = await fileDigest(cow);
    const merge = await lab.apppot('snap', 'merge', `${cow}:${lab.image}`, 'random.tar.zst', '--json');
    t.is(codeIn(merge.stderr), 'no-space');
    t.is(await fileDigest(cow), before);
    t.deepEqual(await readdir(disk), ['x.cow']);
  } finally {
    await run('umount', [disk]);
  }
});

test.serial(
  'changes that are killed while they replace a file leave the old one or the new one',
  async (t) => {
    const lab = await snapLab(t);
    if (lab === undefined) return;
    const cow = join(lab.folder, 'killed.cow');
    await lab.guest(['--image', lab.image, '--overlay', cow], 'head -c 9000000 /dev/urandom >/opt/killed');
    const words = ['snap', 'changes', `killed.cow:${lab.image}`, '-o', 'killed.tar', '--force'];
    await lab.json(...words);
    const whole = await readFile(join(lab.folder, 'killed.tar'));
    const started = performance.now();
    await lab.json(...words);
    const longest = performance.now() - started;
    for (let i = 0; i < 4; i++) {
      await writeFile(join(lab.folder, 'killed.tar'), 'old');
      const child = spawn(process.execPath, [CLI, ...words], {
        cwd: lab.folder,
        env: { PATH: process.env['PATH'], ...snapEnvironment(lab.parts, lab.folder) },
        stdio: 'ignore',
      });
      const ended = once(child, 'exit');
      await sleep(Math.random() * longest);
      child.kill('SIGKILL');
      await ended;
      const now = await readFile(join(lab.folder, 'killed.tar'));
      t.true(now.equals(whole) || now.toString() === 'old', `kill ${i}`);
    }
    await lab.json(...words);
    t.deepEqual(
      (await readdir(lab.folder)).filter((name) => name.endsWith('.part')),
      [],
    );
  },
);

test.serial('sessions are named, also those on top of a layer', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined || !requireOrSkip(t, existsSync('/usr/bin/sqfstar'), 'squashfs-tools is missing'))
    return;
  await shell(lab, ['--session', 'first', lab.image], 'echo one | sudo tee /opt/one /opt/other');
  await lab.json('snap', 'changes', 'first', '-o', 'first.tar.zst');
  const edit = 'sudo rm /opt/other; cat /opt/one; echo two | sudo tee /opt/two';
  const said = await shell(lab, ['--session', 'second', '--changes', 'first.tar.zst', lab.image], edit);
  t.is(said, 'one\ntwo\n');
  const both = await lab.json('snap', 'changes', 'second', '-o', 'both.tar.zst');
  t.is(both['added'], 2);
  // All that differs from the image: what the layer brought, too.
  await lab.copy('both.img');
  await lab.json('snap', 'merge', 'both.img', 'both.tar.zst');
  t.is(await lab.guest(['--image', 'both.img'], 'cd /opt; cat one two; ls other || true'), 'one\ntwo\n');
});

test.serial('two launches at once make one layer', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined || !requireOrSkip(t, existsSync('/usr/bin/sqfstar'), 'squashfs-tools is missing'))
    return;
  await lab.apppot('cache', 'clean', 'layers');
  const words = ['run', '--image', lab.image, '--changes', 'first.tar.zst', '--', 'cat', '/opt/one'];
  const both = await Promise.all([lab.apppot(...words), lab.apppot(...words)]);
  t.deepEqual(
    both.map(({ stdout }) => stdout),
    ['one\n', 'one\n'],
  );
  const layers = await readdir(join(lab.folder, 'cache', 'apppot', 'layers'));
  t.is(layers.filter((name) => name.endsWith('.layer')).length, 1);
  t.deepEqual(
    layers.filter((name) => name.endsWith('.part')),
    [],
  );
});

test.serial(
  'a small file with huge content stops with a word, and leaves the image and the disk as they were',
  async (t) => {
    const lab = await snapLab(t);
    if (lab === undefined) return;
    // As much as the whole image, and no holes.
    const { size } = await stat(lab.image);
    const base = (await lab.guest(['--image', lab.image], 'cat /var/lib/apppot/base-id')).trim();
    await writeBomb(join(lab.folder, 'bomb.tar.zst'), base, size);
    t.true((await stat(join(lab.folder, 'bomb.tar.zst'))).size < 1_000_000);
    await lab.copy('bombed.img');
    const before = await fileDigest(join(lab.folder, 'bombed.img'));
    const { stderr } = await lab.apppot('snap', 'merge', 'bombed.img', 'bomb.tar.zst', '--json');
    t.is(codeIn(stderr), 'no-space');
    t.is(await fileDigest(join(lab.folder, 'bombed.img')), before);
  },
);

test.serial(
  'somebody without privileges, a folder with a blank, an image that may only be read',
  async (t) => {
    const lab = await snapLab(t);
    if (lab === undefined || !requireOrSkip(t, process.getuid?.() === 0, 'needs root')) return;
    const person = await plainPerson(lab.folder);
    if (!requireOrSkip(t, person !== undefined, 'nobody has subordinate ids')) return;
    const package_ = await publicPackage();
    try {
      const folder = join(person?.home ?? '', 'my folder');
      await run('install', ['-d', '-o', String(person?.uid), folder]);
      await run('cp', ['-rL', lab.parts.runtime, join(lab.folder, 'runtime')]);
      await run('chmod', ['-R', 'a+rX', join(lab.folder, 'runtime')]);
      await chmod(lab.image, 0o444);
      const env = { APPPOT_RUNTIME: join(lab.folder, 'runtime') };
      const call = async (...words: readonly string[]): Promise<string> => {
        const { code, stdout, stderr } = await package_.cli(words, { cwd: folder, person, env });
        if (code !== 0) throw new Error(`${words.join(' ')}: ${code}: ${stderr}`);
        return stdout;
      };
      const script = 'echo mine | sudo tee /opt/mine';
      await call('run', '--image', lab.image, '--overlay', 'my cow', '--', 'sh', '-c', script);
      await call('snap', 'changes', `my cow:${lab.image}`, '-o', 'my changes.tar.gz');
      t.regex(await call('snap', 'inspect', 'my changes.tar.gz'), /^A .* opt\/mine$/m);
      await call('snap', 'verify', 'my changes.tar.gz');
      const changes = ['--changes', 'my changes.tar.gz'];
      t.is(await call('run', '--image', lab.image, ...changes, '--', 'cat', '/opt/mine'), 'mine\n');
      await call('run', '--image', lab.image, '--overlay', 'new cow', '--', 'true');
      await call('snap', 'merge', `new cow:${lab.image}`, 'my changes.tar.gz');
      t.is(
        await call('run', '--image', lab.image, '--overlay', 'new cow', '--', 'cat', '/opt/mine'),
        'mine\n',
      );
      const refused = await package_.cli(['snap', 'base', lab.image, '--json'], { cwd: folder, person, env });
      t.is(codeIn(refused.stderr), 'permission');
    } finally {
      await chmod(lab.image, 0o644);
      await package_.remove();
    }
  },
);

test.serial('a file above eight gigabytes has its size in the archive', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const tree = join(lab.folder, 'large tree');
  await mkdir(tree);
  await run('truncate', ['-s', '9G', join(tree, 'large')]);
  const none = join(lab.folder, 'none.base');
  await writeFile(none, 'd\t0000\t0\t0\t-\t0.000000000\t-\t-\t-\t-\t-\t.\n');
  const words = ['--root', tree, '--base', none, 'changes', '-o', '-'];
  // The content is nine gigabytes of zeros: its start is enough.
  const script = '"$@" 2>/dev/null | head -c 100000 >start.tar; tar -tvf start.tar 2>/dev/null || true';
  const program = join(lab.parts.runtime, 'apppot-snap');
  const { stdout } = await run('sh', ['-c', script, 'sh', program, ...words], { cwd: lab.folder });
  t.regex(stdout, /\s9663676416\s.*large$/m);
  const damaged = await lab.apppot('snap', 'verify', 'start.tar', '--json');
  t.is(codeIn(damaged.stderr), 'archive');
});
