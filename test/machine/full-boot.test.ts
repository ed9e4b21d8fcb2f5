import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { guestParts, launch, newFolder, readOutcome } from '../helpers/guest.ts';

/** A service of sysvinit that says when it was started and stopped. */
const SERVICE = `#!/bin/sh
### BEGIN INIT INFO
# Provides:          demo
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2
# Default-Stop:      0 6
### END INIT INFO
case $1 in start) touch /run/demo-is-up ;; stop) echo stopped >>/var/demo-stopped ;; esac
`;

test.serial('--full-boot starts the services of the image, then the job, exactly', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  writeFileSync(path.join(cwd, 'demo'), SERVICE);
  const kept = ['--overlay', 'kept', '--full-boot', '--boot-timeout', '50'];
  const install = 'cp demo /etc/init.d/demo && chmod 755 /etc/init.d/demo && update-rc.d demo defaults';
  const installed = await launch(parts, ['--overlay', 'kept', '--', 'sudo', 'sh', '-c', install], { cwd })
    .ended;
  t.is(installed.code, 0);
  const script = 'ls /run/demo-is-up; runlevel; cat; echo err >&2; exit 7';
  const first = await launch(parts, [...kept, '--', 'sh', '-c', script], {
    cwd,
    stdin: Buffer.from('in\0\xff', 'latin1'),
  }).ended;
  t.deepEqual([first.stderr, first.code], ['err\n', 7]);
  t.deepEqual(first.stdout, Buffer.from('/run/demo-is-up\nN 2\nin\0\xff', 'latin1'));
  // What is kept was left by a shutdown: the service was told to stop.
  const second = await launch(parts, ['--overlay', 'kept', '--', 'cat', '/var/demo-stopped'], { cwd }).ended;
  t.is(second.stdout.toString(), 'stopped\n');
});

test.serial('--full-boot of an image without an init is refused', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const removed = await launch(parts, ['--overlay', 'kept', '--', 'sudo', 'rm', '/sbin/init'], { cwd }).ended;
  t.is(removed.code, 0);
  const words = ['--overlay', 'kept', '--full-boot', '--outcome', 'out.json', '--', 'true'];
  const ended = await launch(parts, words, { cwd }).ended;
  t.is(ended.code, 125);
  t.is((await readOutcome(path.join(cwd, 'out.json'))).error?.code, 'full-boot');
});
