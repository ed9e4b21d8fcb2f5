import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { fileDigest } from '../../src/runtime/digest.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { removeLab, snapEnvironment, snapLab } from '../helpers/snap-lab.ts';

test.after.always(removeLab);

test.serial('an OCI layout of base and changes is unpacked by umoci to the same tree', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const tools = ['skopeo', 'umoci'].every((name) => existsSync(`/usr/bin/${name}`));
  if (!requireOrSkip(t, tools && process.getuid?.() === 0, 'skopeo, umoci or root is missing')) return;
  const cow = join(lab.folder, 'oci.cow');
  const script =
    'mkdir /opt/o; echo 1 >/opt/o/f; ln /opt/o/f /opt/o/g; rm /etc/motd; rm -r /usr/share/doc/bash';
  await lab.guest(['--image', lab.image, '--overlay', cow], script);
  const { manifest } = await lab.json('snap', 'changes', `oci.cow:${lab.image}`, '--oci', 'layout');
  const options = { cwd: lab.folder };
  const facts = JSON.parse((await run('skopeo', ['inspect', 'oci:layout:latest'], options)).stdout) as {
    Digest: string;
    Layers: string[];
  };
  t.is(facts.Digest, String(manifest));
  t.is(facts.Layers.length, 2);
  await run('skopeo', ['copy', '-q', 'oci:layout:latest', 'dir:copied'], options);
  await run('umoci', ['unpack', '--image', 'layout:latest', 'bundle'], options);
  const root = join(lab.folder, 'bundle', 'rootfs');
  const words = ['--root', root, '--exclude', join(root, 'var/lib/apppot/apppot-snap.exclude'), 'manifest'];
  const unpacked = await run(join(lab.parts.runtime, 'apppot-snap'), words);
  t.is(unpacked.stdout, await lab.manifest('--image', lab.image, '--overlay', cow));
});

test.serial('a merge or base that is killed leaves the image as it was, or the new one', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const cow = join(lab.folder, 'kill.cow');
  await lab.guest(['--image', lab.image, '--overlay', cow], 'head -c 5000000 /dev/urandom >/opt/big');
  await lab.json('snap', 'changes', `kill.cow:${lab.image}`, '-o', 'kill.tar');
  const old = await fileDigest(lab.image);
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  const outcomes: string[] = [];
  for (const words of [
    ['snap', 'merge', 'killed.img', 'kill.tar'],
    ['snap', 'base', 'killed.img'],
  ]) {
    await lab.copy('killed.img');
    const child = spawn(process.execPath, [cli, ...words], {
      cwd: lab.folder,
      env: { PATH: process.env['PATH'], ...snapEnvironment(lab.parts, lab.folder) },
      stdio: 'ignore',
    });
    await sleep(500 + Math.random() * 3000);
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    if ((await fileDigest(join(lab.folder, 'killed.img'))) === old) {
      outcomes.push('old');
      continue;
    }
    outcomes.push('new');
    t.is((await lab.guest(['--image', 'killed.img'], 'cat /var/lib/apppot/base-id')).trim().length, 64);
  }
  t.log(outcomes.join(', '));
  // What the killed ones left beside the image goes with the next call.
  await lab.copy('killed.img');
  await lab.json('snap', 'merge', 'killed.img', 'kill.tar');
  t.deepEqual(
    (await readdir(lab.folder)).filter((name) => name.endsWith('.part')),
    [],
  );
});

test.serial('a session in use is refused', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const cow = join(lab.folder, 'busy.cow');
  const guest = spawn(
    lab.parts.launcher,
    ['--image', lab.image, '--overlay', cow, '--no-stdin', '--quiet', '--', 'sh', '-c', 'echo up; sleep 60'],
    { cwd: lab.folder, stdio: ['ignore', 'pipe', 'ignore'] },
  );
  await once(guest.stdout, 'data');
  const { exitCode, stderr } = await lab.apppot('snap', 'changes', `busy.cow:${lab.image}`, '--json');
  guest.kill('SIGKILL');
  t.is(exitCode, 1);
  t.regex(stderr, /"code":"locked"/);
});
