import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { fixture } from '../helpers/fixture.ts';
import { guestParts, launch, newFolder, readOutcome, start } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

const MB = 1 << 20;
/** What docs/kernel.md tells: what a batch system that adds up RSS sees, over the memory of the guest. */
const MEMORY_FACTOR = 2;

/** A control group (version 1) with a memory limit, as a batch system makes one; gone with the test. */
function memoryGroup(t: ExecutionContext, bytes: number): string | undefined {
  const root = '/sys/fs/cgroup/memory';
  const own = /^\d+:memory:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  const there = process.getuid?.() === 0 && own !== undefined && existsSync(path.join(root, own));
  if (!requireOrSkip(t, there, 'needs root and a memory control group of version 1')) return undefined;
  const group = path.join(root, own ?? '', `apppot-test-${process.pid}-${bytes}`);
  mkdirSync(group);
  t.teardown(async () => {
    for (let tries = 0; tries < 50; tries++) {
      try {
        rmdirSync(group);
        return;
      } catch {
        await sleep(100); // its last process is still going
      }
    }
  });
  writeFileSync(path.join(group, 'memory.limit_in_bytes'), String(bytes));
  return group;
}

/** Words that put a launch into a group. */
function inGroup(group: string): readonly string[] {
  return ['/bin/sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', group];
}

function valueOf(group: string, name: string): number {
  return Number(readFileSync(path.join(group, name), 'utf8'));
}

test('by default a guest takes what its control group allows, and stays within when all of it is used', async (t) => {
  const parts = guestParts(t);
  const program = await fixture(t, 'memory');
  const group = memoryGroup(t, 700 * MB);
  if (parts === undefined || program === undefined || group === undefined) return;
  const cwd = await newFolder(t);
  copyFileSync(program, path.join(cwd, 'memory'));
  const ended = await start(t, parts, ['--', './memory', 'touch', '480'], { cwd, wrapper: inGroup(group) });
  t.log(ended.stderr);
  t.is(ended.code, 0);
  t.true(
    valueOf(group, 'memory.max_usage_in_bytes') > 480 * MB,
    'the memory of the guest counts in the group',
  );
  t.true(valueOf(group, 'memory.max_usage_in_bytes') <= 700 * MB);
});

test("a program that wants more than the guest has meets the guest's own limit, and the outcome says so", async (t) => {
  const parts = guestParts(t);
  const program = await fixture(t, 'memory');
  const group = memoryGroup(t, 701 * MB);
  if (parts === undefined || program === undefined || group === undefined) return;
  const cwd = await newFolder(t);
  copyFileSync(program, path.join(cwd, 'memory'));
  const both = './memory touch 400 & ./memory touch 400; a=$?; wait $!; b=$?; echo $a $b';
  const words = ['--outcome', 'outcome.json', '--', 'sh', '-c', both];
  const ended = await start(t, parts, words, { cwd, wrapper: inGroup(group) });
  t.log(ended.stderr);
  t.regex(ended.stdout.toString(), /137/);
  t.is(ended.code, 0);
  const outcome = await readOutcome(path.join(cwd, 'outcome.json'));
  t.is(outcome.origin, 'job');
  t.true(outcome.oomKills > 0);
});

test('a guest that is larger than its control group is killed by the host, and the supervisor lives to tell', async (t) => {
  const parts = guestParts(t);
  const program = await fixture(t, 'memory');
  const group = memoryGroup(t, 300 * MB);
  if (parts === undefined || program === undefined || group === undefined) return;
  const cwd = await newFolder(t);
  copyFileSync(program, path.join(cwd, 'memory'));
  const words = ['--mem', '1200', '--outcome', 'outcome.json', '--', './memory', 'touch', '900'];
  const ended = await start(t, parts, words, { cwd, wrapper: inGroup(group) });
  t.log(ended.stderr);
  t.is(ended.code, 125);
  const outcome = await readOutcome(path.join(cwd, 'outcome.json'));
  t.is(outcome.error?.code, 'host-killed');
});

/** Resident memory of all processes that work in a run folder below `folder`, bytes, each page as often as it is mapped. */
function sumOfResident(folder: string): number {
  let sum = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (
        !execFileSync('readlink', [`/proc/${pid}/cwd`])
          .toString()
          .startsWith(folder)
      )
        continue;
      sum += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
    } catch {
      continue; // gone meanwhile
    }
  }
  return sum;
}

test('where a batch system adds up resident memory, a full guest counts at most the documented factor', async (t) => {
  const parts = guestParts(t);
  const program = await fixture(t, 'memory');
  if (parts === undefined || program === undefined) return;
  const cwd = await newFolder(t);
  copyFileSync(program, path.join(cwd, 'memory'));
  const job = 'touch here; for i in 1 2 3 4 5 6; do ./memory touch 420 || exit 1; done';
  const guest = launch(parts, ['--mem', '512', '--', 'sh', '-c', job], { cwd });
  let most = 0;
  const over = guest.ended.then(() => true);
  while (!(await Promise.race([over, sleep(20, false)]))) most = Math.max(most, sumOfResident(cwd));
  t.is((await guest.ended).code, 0);
  const factor = most / (512 * MB);
  t.log(`resident memory, added up: ${factor.toFixed(2)} times the guest's`);
  t.true(factor > 0.8);
  t.true(factor <= MEMORY_FACTOR);
});
