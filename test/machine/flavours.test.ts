import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { fixture } from '../helpers/fixture.ts';
import { guestParts, launch, newFolder, type StartOptions } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

/** The kernels that a launch may get, beside the one-processor kernel that all other tests run on. */
const FLAVOURS = [
  { name: 'two processors', words: ['--quiet', '--cpus', '2'], file: undefined },
  {
    name: "the distribution's kernel",
    words: ['--quiet', '--kernel', '/usr/bin/linux.uml'],
    file: '/usr/bin/linux.uml',
  },
] as const;

for (const { name, words, file } of FLAVOURS) {
  test.serial(`exit codes, signals, arguments and streams are exact with ${name}`, async (t) => {
    const parts = guestParts(t);
    const there = file === undefined || existsSync(file);
    if (parts === undefined || !requireOrSkip(t, there, 'the package user-mode-linux is not installed'))
      return;
    const cwd = await newFolder(t);
    const start = (args: readonly string[], options: Partial<StartOptions> = {}) =>
      launch(parts, [...words, '--', ...args], { cwd, ...options });
    for (const code of [0, 1, 77, 255]) t.is((await start(['sh', '-c', `exit ${code}`]).ended).code, code);
    for (const [signal, code] of [
      ['KILL', 137],
      ['SEGV', 139],
      ['TERM', 143],
    ] as const)
      t.is((await start(['sh', '-c', `kill -${signal} $$`]).ended).code, code);
    t.is((await start(['no-such-program']).ended).code, 127);

    const odd = ['', 'a  b', '$HOME', `'"\\`, 'new\nline', 'Grüße', 'x'.repeat(100_000)];
    t.deepEqual(
      (await start(['printf', '%s\\0', ...odd]).ended).stdout.toString().split('\0').slice(0, -1),
      odd,
    );

    const input = randomBytes(10_000_000);
    const both = await start(['sh', '-c', 'sha256sum; echo last; echo err >&2'], { stdin: input }).ended;
    t.is(both.stdout.toString(), `${createHash('sha256').update(input).digest('hex')}  -\nlast\n`);
    t.is(both.stderr, 'err\n');
    const big = await start(['cat'], { stdin: input }).ended;
    t.true(big.stdout.equals(input));

    const handled = start(['sh', '-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.05; done']);
    await handled.shows('up');
    process.kill(-(handled.child.pid ?? 0), 'SIGTERM');
    t.is((await handled.ended).code, 9);
    const plain = start(['sh', '-c', 'echo up; exec sleep 60']);
    await plain.shows('up');
    plain.child.kill('SIGINT');
    t.is((await plain.ended).code, 130);
  });

  test.serial(`a paste of a megabyte reaches a terminal program whole with ${name}`, async (t) => {
    const parts = guestParts(t);
    const pty = await fixture(t, 'pty');
    const there = file === undefined || existsSync(file);
    if (parts === undefined || pty === undefined) return;
    if (!requireOrSkip(t, there, 'the package user-mode-linux is not installed')) return;
    const cwd = await newFolder(t);
    const text = randomBytes(500_000)
      .toString('hex')
      .replace(/(.{70})/g, '$1\n');
    await writeFile(path.join(cwd, 'paste'), text);
    const sum = createHash('sha256').update(text).digest('hex');
    const steps = ['--expect', 'ready', '--send-file', path.join(cwd, 'paste'), '--expect', sum];
    const wrapper = [pty, '--timeout', '50', '--log', path.join(cwd, 'log'), ...steps, '--'];
    const program = `stty raw -echo; echo ready; head -c ${text.length} | sha256sum`;
    const ended = await launch(parts, [...words, '--', 'sh', '-c', program], { cwd, wrapper }).ended;
    t.deepEqual([ended.stderr, ended.code], ['', 0]);
  });
}
