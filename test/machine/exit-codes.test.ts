import path from 'node:path';
import test from 'ava';
import { guestParts, launch, newFolder, readOutcome, start, type Ended } from '../helpers/guest.ts';

const SIGNALS = [
  ['HUP', 1],
  ['INT', 2],
  ['QUIT', 3],
  ['ABRT', 6],
  ['KILL', 9],
  ['USR1', 10],
  ['SEGV', 11],
  ['PIPE', 13],
  ['TERM', 15],
] as const;

test.serial(
  'every exit code from 0 to 255 comes back, with two guests at a time in one folder',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    const codes = Array.from({ length: 256 }, (_, code) => code);
    const got = new Map<number, Ended>();
    const worker = async () => {
      for (let code = codes.shift(); code !== undefined; code = codes.shift()) {
        got.set(code, await launch(parts, ['--', 'sh', '-c', `exit ${code}`], { cwd }).ended);
      }
    };
    await Promise.all([worker(), worker()]);
    const wrong = [...got].filter(([code, ended]) => ended.code !== code || ended.stderr !== '');
    t.deepEqual(wrong, []);
    t.is(got.size, 256);
  },
);

test.serial(
  'a job killed by a signal gives 128 plus its number, and the outcome names the signal',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    for (const [name, number] of SIGNALS) {
      const cwd = await newFolder(t);
      const ended = await launch(parts, ['--outcome', 'out.json', '--', 'sh', '-c', `kill -${name} $$`], {
        cwd,
      }).ended;
      const { signal, origin } = await readOutcome(path.join(cwd, 'out.json'));
      t.deepEqual([name, ended.code, signal, origin], [name, 128 + number, number, 'job']);
    }
  },
);

test.serial(
  'a program that ends with 143 by itself was not signalled, and the outcome says so',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    const ended = await launch(parts, ['--outcome', 'out.json', '--', 'sh', '-c', 'exit 143'], { cwd }).ended;
    const outcome = await readOutcome(path.join(cwd, 'out.json'));
    t.is(ended.code, 143);
    t.is(outcome.signal, null);
    t.is(outcome.exitCode, 143);
  },
);

test.serial(
  'a program that is not there gives 127, one that cannot be run 126, each with a sentence',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const missing = await start(t, parts, ['--', 'no-such-program']);
    t.is(missing.code, 127);
    t.regex(missing.stderr, /no-such-program: no such program/);
    const folder = await start(t, parts, ['--', '/etc']);
    t.is(folder.code, 126);
    t.regex(folder.stderr, /\/etc: /);
    const text = await start(t, parts, ['--', '/etc/passwd']);
    t.is(text.code, 126);
  },
);

test.serial('the outcome holds code, times, memory and byte counts of the job', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const script =
    'printf 12345; printf 123 >&2; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 0.3; exit 7';
  const ended = await launch(parts, ['--outcome', 'out.json', '--', 'sh', '-c', script], { cwd }).ended;
  const outcome = await readOutcome(path.join(cwd, 'out.json'));
  t.is(ended.code, 7);
  t.like(outcome, {
    version: 1,
    origin: 'job',
    exitCode: 7,
    signal: null,
    stdoutBytes: 5,
    stderrBytes: 3,
    oomKills: 0,
  });
  t.true(outcome.wallSeconds >= 0.3 && outcome.wallSeconds < 30);
  t.true(outcome.bootSeconds > 0 && outcome.bootSeconds < 30);
  t.true(outcome.userSeconds + outcome.systemSeconds > 0);
  t.true(outcome.maxRssKiB > 500);
});

test.serial(
  'the outcome names kernel and base of the guest, so that a result can be made again',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    const script = 'uname -r; cat /var/lib/apppot/base-id';
    const ended = await launch(parts, ['--outcome', 'out.json', '--', 'sh', '-c', script], { cwd }).ended;
    const [kernelVersion, baseId] = ended.stdout.toString().split('\n');
    t.regex(baseId ?? '', /^[0-9a-f]{64}$/);
    t.like(await readOutcome(path.join(cwd, 'out.json')), { kernelVersion, baseId });
  },
);
