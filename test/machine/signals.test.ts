import { execFileSync } from 'node:child_process';
import { readdir, readlink, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import {
  guestParts,
  launch,
  newFolder,
  readOutcome,
  type GuestParts,
  type Started,
} from '../helpers/guest.ts';

const SIGNALS = [
  ['SIGTERM', 15],
  ['SIGINT', 2],
  ['SIGHUP', 1],
] as const;

/** Processes whose current folder or command line is in `folder`. */
async function processesIn(folder: string): Promise<string[]> {
  const found = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const where = await readlink(`/proc/${pid}/cwd`).catch(() => '');
    if (where.startsWith(folder)) found.push(pid);
  }
  return found;
}

async function goneWithin(folder: string, milliseconds: number): Promise<string[]> {
  const end = Date.now() + milliseconds;
  let left = await processesIn(folder);
  while (left.length > 0 && Date.now() < end) {
    await sleep(20);
    left = await processesIn(folder);
  }
  return left;
}

/** A job that says "ready", and handles signals as `traps` says. */
async function running(
  t: ExecutionContext,
  parts: GuestParts,
  traps: string,
  options: string[] = [],
): Promise<Started> {
  const script = `${traps}; echo ready; while :; do sleep 0.02; done`;
  const cwd = await newFolder(t);
  const guest = launch(parts, ['--outcome', 'out.json', ...options, '--', 'sh', '-c', script], { cwd });
  await guest.shows('ready');
  return guest;
}

test.serial(
  'TERM, INT and HUP reach the job within a second, and a job that handles them ends with its own code',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    for (const [name, number] of SIGNALS) {
      const guest = await running(t, parts, `trap 'echo caught; exit ${40 + number}' ${number}`);
      const sent = Date.now();
      guest.child.kill(name);
      const ended = await guest.ended;
      const { origin, signal } = await readOutcome(path.join(guest.cwd, 'out.json'));
      t.deepEqual([name, ended.code, origin, signal], [name, 40 + number, 'job', null]);
      t.is(ended.stdout.toString(), 'ready\ncaught\n');
      t.true(Date.now() - sent < 1500);
    }
  },
);

test.serial('a job that does not handle them ends by the signal: 143, 130, 129', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  for (const [name, number] of SIGNALS) {
    const guest = await running(t, parts, ':');
    guest.child.kill(name);
    const ended = await guest.ended;
    t.deepEqual([name, ended.code, ended.stderr], [name, 128 + number, '']);
  }
});

test.serial(
  'the whole process group signalled at once, as batch systems do, is one signal to the job',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    for (const [name, number] of SIGNALS) {
      const traps = `n=0; trap 'n=$((n+1)); echo caught' ${number}; trap 'exit $n' USR1`;
      const guest = await running(t, parts, traps);
      process.kill(-(guest.child.pid ?? 0), name);
      await guest.shows('caught');
      await sleep(300);
      guest.child.kill('SIGUSR1');
      const ended = await guest.ended;
      t.deepEqual([name, ended.code, ended.stdout.toString()], [name, 1, 'ready\ncaught\n']);
    }
  },
);

test.serial('every process of the launch signalled one by one: the job still gets its grace', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const guest = await running(t, parts, `trap 'sleep 0.5; echo saved; exit 5' TERM`);
  for (const pid of await processesIn(guest.cwd)) process.kill(Number(pid), 'SIGTERM');
  const ended = await guest.ended;
  t.deepEqual([ended.code, ended.stdout.toString()], [5, 'ready\nsaved\n']);
});

test.serial(
  'a job that ignores the signal is killed after --grace, and the code is still 143, 130, 129',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    for (const [name, number] of SIGNALS) {
      const guest = await running(t, parts, `trap '' ${number}`, ['--grace', '1']);
      const sent = Date.now();
      guest.child.kill(name);
      const ended = await guest.ended;
      const { exitCode } = await readOutcome(path.join(guest.cwd, 'out.json'));
      t.deepEqual([name, ended.code, exitCode], [name, 128 + number, 128 + number]);
      t.true(Date.now() - sent >= 950 && Date.now() - sent < 5000);
    }
  },
);

test.serial('a signal while the guest boots ends the launch at once', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  for (const wait of [1, 20, 60, 100]) {
    const cwd = await newFolder(t);
    const guest = launch(parts, ['--', 'sleep', '30'], { cwd });
    await sleep(wait);
    guest.child.kill('SIGTERM');
    const ended = await guest.ended;
    t.deepEqual([wait, ended.code], [wait, 143]);
    t.true(ended.ms < 10_000);
    t.deepEqual([wait, await goneWithin(cwd, 2000)], [wait, []]);
  }
});

test.serial("USR1, USR2 and QUIT are the job's own business", async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const guest = await running(
    t,
    parts,
    `trap 'echo usr1' USR1; trap 'echo usr2' USR2; trap 'echo quit; exit 0' QUIT`,
  );
  guest.child.kill('SIGUSR1');
  await guest.shows('usr1');
  guest.child.kill('SIGUSR2');
  await guest.shows('usr2');
  guest.child.kill('SIGQUIT');
  t.is((await guest.ended).code, 0);
});

test.serial(
  '--time ends a job with 124: at once when it goes by TERM, after --grace when it does not',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const handled = await running(t, parts, `trap 'echo saved; exit 3' TERM`, ['--time', '0:1']);
    const saved = await handled.ended;
    const first = await readOutcome(path.join(handled.cwd, 'out.json'));
    t.deepEqual([saved.code, saved.stdout.toString()], [124, 'ready\nsaved\n']);
    t.like(first, { exitCode: 124, origin: 'launcher', error: { code: 'time-limit' } });
    t.regex(saved.stderr, /time limit/);
    const ignored = await running(t, parts, `trap '' TERM`, ['--time', '0:1', '--grace', '1']);
    t.is((await ignored.ended).code, 124);
  },
);

test.serial('a job that ends before --time keeps its own code', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  t.is((await launch(parts, ['--time', '1', '--', 'sh', '-c', 'exit 6'], { cwd }).ended).code, 6);
});

test.serial('kill -9 of the launcher leaves no process and nothing outside the run folder', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  for (const wait of [0, 30, 80, 'running'] as const) {
    const shared = await readdir('/dev/shm');
    const cwd = await newFolder(t);
    const guest = launch(parts, ['--', 'sh', '-c', 'echo ready; while :; do sleep 0.01; done'], { cwd });
    await (wait === 'running' ? guest.shows('ready') : sleep(wait));
    guest.child.kill('SIGKILL');
    t.is((await guest.ended).code, 137);
    t.deepEqual([wait, await goneWithin(cwd, 3000)], [wait, []]);
    const left = (await readdir(cwd)).filter((name) => name !== '.apppot');
    t.deepEqual([wait, left], [wait, []]);
    t.deepEqual(
      (await readdir('/dev/shm')).filter((name) => !shared.includes(name)),
      [],
    );
  }
});

test.serial('nothing is left after any other end either', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  await launch(parts, ['--', 'true'], { cwd }).ended;
  const signalled = launch(parts, ['--', 'sh', '-c', 'echo ready; sleep 30'], { cwd });
  await signalled.shows('ready');
  signalled.child.kill('SIGTERM');
  await signalled.ended;
  t.deepEqual(await readdir(cwd), []);
  t.deepEqual(await goneWithin(cwd, 2000), []);
});

test.serial('a stopped launch goes on where it was', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const guest = await running(t, parts, `trap 'exit 8' TERM`);
  guest.child.kill('SIGSTOP');
  await sleep(300);
  guest.child.kill('SIGTERM');
  guest.child.kill('SIGCONT');
  t.is((await guest.ended).code, 8);
});

test.serial('a launcher started with --die-with-parent ends with its parent', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  await writeFile(path.join(cwd, 'parent'), '"$@" & echo "$!" >pid; wait\n');
  const words = ['--die-with-parent', '--', 'sh', '-c', 'echo ready; while :; do sleep 0.05; done'];
  const guest = launch(parts, words, { cwd, wrapper: ['/bin/sh', 'parent'] });
  await guest.shows('ready');
  guest.child.kill('SIGKILL');
  await guest.ended;
  t.deepEqual(await goneWithin(cwd, 5000), []);
  await rm(path.join(cwd, 'parent'));
  t.is(execFileSync('ls', ['-A', cwd]).toString(), 'pid\n');
});
