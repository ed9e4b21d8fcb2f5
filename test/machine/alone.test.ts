import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { copyFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { fixture } from '../helpers/fixture.ts';
import {
  guestParts,
  launch,
  newFolder,
  type Ended,
  type GuestParts,
  type StartOptions,
} from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

const STOCK = '/usr/bin/linux.uml';
/** What the launch may need of a machine beside itself: the tools of POSIX that every system has. */
const TOOLS = ['sh', 'cat', 'dd', 'id', 'ln', 'mkdir', 'mkfifo', 'rm', 'rmdir', 'setsid', 'tail', 'wc'];

/** A folder with these parts and a PATH that holds the plainest tools only. */
async function alone(t: ExecutionContext, parts: GuestParts, names: readonly string[]) {
  const cwd = await newFolder(t);
  const bin = path.join(await newFolder(t), 'bin');
  mkdirSync(bin);
  for (const tool of TOOLS) symlinkSync('/bin/busybox', path.join(bin, tool));
  for (const name of names) await copyFile(path.join(parts.runtime, name), path.join(cwd, name));
  symlinkSync(parts.image, path.join(cwd, 'apppot.img'));
  const own: GuestParts = { ...parts, launcher: './apppot-start' };
  const run = (args: readonly string[], options: Partial<StartOptions> = {}): Promise<Ended> =>
    launch(own, args, { cwd, image: false, env: { PATH: bin }, ...options }).ended;
  return { cwd, bin, run };
}

/** The part of exactness that a launch without a supervisor keeps too. */
async function exact(
  t: ExecutionContext,
  run: (args: readonly string[], options?: Partial<StartOptions>) => Promise<Ended>,
) {
  for (const code of [0, 1, 42, 125, 255]) t.is((await run(['--', 'sh', '-c', `exit ${code}`])).code, code);
  t.is((await run(['--', 'sh', '-c', 'kill -9 $$'])).code, 137);
  const words = ['a  b', '', `q'u"o$te\`s`, 'new\nline', 'ü'];
  t.deepEqual(
    (await run(['--', 'printf', '%s\\0', ...words])).stdout.toString().split('\0').slice(0, -1),
    words,
  );
  const apart = await run(['--', 'sh', '-c', 'echo out; echo err >&2; printf "\\000\\377"']);
  t.deepEqual(apart.stdout, Buffer.from('out\n\0\xff', 'latin1'));
  t.regex(apart.stderr, /^err$/m);
  const input = Buffer.alloc(300_000, 'some bytes\0\r\n\xff');
  t.deepEqual((await run(['--', 'cat'], { stdin: input })).stdout, input);
  t.is((await run(['--', 'cat'])).stdout.length, 0);
  t.is((await run(['-e', 'A=x y', '--', 'sh', '-c', 'echo "$A$LEAK"'])).stdout.toString(), 'x y\n');
}

test.serial(
  'linux, slirp, apppot-start and an image in an empty folder are enough, without Node on PATH',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined || !requireOrSkip(t, existsSync('/bin/busybox'), 'busybox is not installed'))
      return;
    const { cwd, run } = await alone(t, parts, ['linux', 'slirp', 'apppot-start']);
    t.is(
      (await run(['--', 'sh', '-c', 'pwd; cat in; echo x >out'], { stdin: 'null' })).stdout.toString(),
      '/home/user/job\n',
    );
    t.deepEqual((await readdir(cwd)).sort(), ['apppot-start', 'apppot.img', 'linux', 'out', 'slirp']);
    await exact(t, run);
  },
);

test.serial('busybox ash and dash run the launcher alike', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined || !requireOrSkip(t, existsSync('/bin/busybox'), 'busybox is not installed'))
    return;
  const { run } = await alone(t, parts, ['linux', 'slirp', 'apppot-start']);
  for (const shell of [['/bin/busybox', 'ash'], ['/bin/dash'], ['/bin/bash', '--posix']]) {
    const ended = await run(['-e', 'A= $x ', '--time=1', '-m256', '--', 'sh', '-c', 'echo "[$A]"; exit 9'], {
      wrapper: shell,
    });
    t.deepEqual([shell, ended.stdout.toString(), ended.stderr, ended.code], [shell, '[ $x ]\n', '', 9]);
    const wrong = await run(['--nonsense'], { wrapper: shell });
    t.deepEqual([shell, wrong.code], [shell, 125]);
  }
});

test.serial('the job is job/apppot-run where no program is named', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { cwd, run } = await alone(t, parts, ['linux', 'slirp', 'apppot-start']);
  await writeFile(path.join(cwd, 'apppot-run'), '#!/bin/sh\necho "ran $0"; exit 11\n', { mode: 0o755 });
  const ended = await run([]);
  t.deepEqual([ended.stdout.toString(), ended.code], ['ran /home/user/job/apppot-run\n', 11]);
});

test.serial('a shell reads its commands from standard input where there is nothing else', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { run } = await alone(t, parts, ['linux', 'slirp', 'apppot-start']);
  const ended = await run([], { stdin: Buffer.from('echo from the shell\nexit 12\n') });
  t.deepEqual([ended.stdout.toString(), ended.code], ['from the shell\n', 12]);
});

test.serial('it runs where ptrace is forbidden and user namespaces are refused', async (t) => {
  const parts = guestParts(t);
  const refuse = await fixture(t, 'refuse');
  if (parts === undefined || refuse === undefined) return;
  const cwd = await newFolder(t);
  const wrapper = [refuse, '--no-userns', '--no-ptrace', '--'];
  const ended = await launch(parts, ['--', 'sh', '-c', 'echo runs; exit 3'], { cwd, wrapper }).ended;
  t.deepEqual([ended.stdout.toString(), ended.stderr, ended.code], ['runs\n', '', 3]);
});

test.serial(
  "the distribution's kernel with our supervisor keeps everything exact, and says what is lost",
  async (t) => {
    const parts = guestParts(t);
    if (
      parts === undefined ||
      !requireOrSkip(t, existsSync(STOCK), 'the package user-mode-linux is not installed')
    )
      return;
    const cwd = await newFolder(t);
    const run = (args: readonly string[], options: Partial<StartOptions> = {}) =>
      launch(parts, ['--kernel', STOCK, ...args], { cwd, ...options }).ended;
    t.regex((await run(['--', 'true'])).stderr, /note: the kernel .* is not AppPot's own/);
    t.is((await run(['-q', '--', 'true'])).stderr, '');
    await exact(t, run);
    const guest = launch(
      parts,
      ['--kernel', STOCK, '--', 'sh', '-c', 'trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done'],
      { cwd },
    );
    await guest.shows('ready');
    guest.child.kill('SIGTERM');
    t.is((await guest.ended).code, 7);
  },
);

test.serial(
  "the distribution's kernel without a supervisor still runs a job with its streams and code",
  async (t) => {
    const parts = guestParts(t);
    const there = existsSync(STOCK) && existsSync('/bin/busybox');
    if (
      parts === undefined ||
      !requireOrSkip(t, there, 'the packages user-mode-linux and busybox are not installed')
    )
      return;
    const { cwd, bin, run } = await alone(t, parts, ['apppot-start']);
    symlinkSync(STOCK, path.join(bin, 'linux.uml'));
    t.regex((await run(['--', 'true'])).stderr, /note: there is no supervisor/);
    await exact(t, (args, options) => run(['-q', ...args], options));
    t.deepEqual((await readdir(cwd)).sort(), ['apppot-start', 'apppot.img']);
  },
);

test.serial('without a supervisor, a signal still ends everything', async (t) => {
  const parts = guestParts(t);
  const there = existsSync(STOCK) && existsSync('/bin/busybox');
  if (
    parts === undefined ||
    !requireOrSkip(t, there, 'the packages user-mode-linux and busybox are not installed')
  )
    return;
  const { cwd, bin } = await alone(t, parts, ['apppot-start']);
  symlinkSync(STOCK, path.join(bin, 'linux.uml'));
  const own: GuestParts = { ...parts, launcher: './apppot-start' };
  const guest = launch(own, ['-q', '--', 'sh', '-c', 'echo ready; sleep 100'], {
    cwd,
    image: false,
    env: { PATH: bin },
  });
  await guest.shows('ready');
  guest.child.kill('SIGTERM');
  t.is((await guest.ended).code, 143);
  await sleep(500);
  t.deepEqual((await readdir(cwd)).sort(), ['apppot-start', 'apppot.img']);
});

test.serial('an empty folder says what is missing', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined || !requireOrSkip(t, existsSync('/bin/busybox'), 'busybox is not installed'))
    return;
  const { run } = await alone(t, parts, ['apppot-start']);
  const kernel = await run(['--', 'true']);
  t.is(kernel.code, 125);
  t.regex(kernel.stderr, /there is no kernel.*\n.*hint: /);
  const cwd = await newFolder(t);
  writeFileSync(path.join(cwd, 'x'), '');
  const image = await launch(parts, ['--', 'true'], { cwd, image: false }).ended;
  t.is(image.code, 125);
  t.regex(image.stderr, /there is no image.*\n.*hint: /);
});
