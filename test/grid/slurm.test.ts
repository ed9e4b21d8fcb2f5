import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { SlurmBackend } from '../../src/grid/slurm/backend.ts';
import { batchMemory, chunksOf, type SlurmOptions } from '../../src/grid/slurm/script.ts';
import { decide } from '../../src/grid/slurm/states.ts';
import { LocalTransport } from '../../src/grid/transport/local.ts';
import type { RemoteResult } from '../../src/grid/transport/transport.ts';
import { parseOutcome } from '../../src/job/outcome.ts';
import { ApppotError } from '../../src/errors.ts';
import type { RemoteJob } from '../../src/job/types.ts';
import { silent } from '../../src/progress.ts';
import { run } from '../../src/process/run.ts';
import { gridLab } from '../helpers/grid.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import {
  contractTests,
  HOSTILE,
  NAMES,
  send,
  shell,
  signal,
  statuses,
  submission,
  until,
} from './contract.ts';

/** A backend on the lab's Slurm, or undefined when the test is to be skipped. */
async function open(t: ExecutionContext, more: SlurmOptions = {}, transport = new LocalTransport()) {
  const lab = gridLab(t);
  if (lab === undefined) return undefined;
  process.env['SLURM_CONF'] = lab.slurm.conf;
  const folder = join(await newFolder(t), 'sand boxes');
  const settings = { name: 'lab', folder, inPlace: true, partition: lab.slurm.partition, ...more };
  return { backend: new SlurmBackend(settings, transport), batch: true };
}

contractTests('slurm', (t) => open(t));

/** This machine, with programs that fail as if the cluster's were ill. */
class IllTransport extends LocalTransport {
  readonly ill: RegExp;
  constructor(ill: RegExp) {
    super();
    this.ill = ill;
  }
  override run(...args: Parameters<LocalTransport['run']>): Promise<RemoteResult> {
    const broken = {
      code: 1,
      stdout: '',
      stderr: 'slurm_load_jobs error: Unable to contact slurm controller\n',
    };
    return this.ill.test(args[0].join(' ')) ? Promise.resolve(broken) : super.run(...args);
  }
}

test('names, accounts and comments of any bytes reach Slurm as they are', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  if (parts === undefined || subject === undefined) return;
  for (const text of HOSTILE.filter((one) => /\S/.test(one) && !/\p{Cc}/u.test(one))) {
    const jobs = await send(t, subject.backend, submission(parts, subject, [shell('true')], { name: text }));
    const [job] = jobs;
    const { stdout } = await run('squeue', ['-h', '-t', 'all', '-j', job?.native ?? '', '-o', '%j'], {
      env: { SLURM_CONF: process.env['SLURM_CONF'] },
    });
    t.is(stdout.trim(), text.trim());
    await subject.backend.cancel(jobs, { signal });
  }
});

test('a thousand jobs of an array are sent in under ten seconds, and answered for with two questions', async (t) => {
  const parts = guestParts(t);
  let calls = 0;
  const counting = new (class extends LocalTransport {
    override run(...args: Parameters<LocalTransport['run']>): Promise<RemoteResult> {
      calls += 1;
      return super.run(...args);
    }
  })();
  const subject = await open(t, {}, counting);
  if (parts === undefined || subject === undefined) return;
  const tasks = Array.from({ length: 1000 }, (_, index) => ({ ...shell('true'), index }));
  const started = performance.now();
  const jobs = await send(t, subject.backend, submission(parts, subject, tasks, {}, { parallel: 1 }));
  const seconds = (performance.now() - started) / 1000;
  t.true(seconds < 10, `took ${seconds} s`);
  calls = 0;
  t.is((await statuses(subject.backend, jobs)).length, 1000);
  t.true(calls <= 3, `${calls} questions`);
  await subject.backend.cancel(jobs, { signal });
  t.log(`${seconds.toFixed(1)} s for 1000`);
});

test('a Slurm that does not answer makes no job fail, and the outcome file needs no Slurm', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  const ill = await open(t, {}, new IllTransport(/squeue|sacct/));
  if (parts === undefined || subject === undefined || ill === undefined) return;
  const [ended] = await send(t, subject.backend, submission(parts, subject, [shell('exit 4')]));
  const [runs] = await send(t, subject.backend, submission(parts, subject, [shell('sleep 100')]));
  if (ended === undefined || runs === undefined) return;
  await until(subject.backend, [ended]);
  await until(subject.backend, [runs], ['running']);
  const [one, two] = await statuses(ill.backend, [ended, runs]);
  t.like(one, { state: 'failed', exitCode: 4 });
  t.like(two, { state: 'unknown' });
  await subject.backend.cancel([runs], { signal });
});

test('a patient question is answered when the job ends, and not long after its patience when it goes on', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  if (parts === undefined || subject === undefined) return;
  const { backend } = subject;
  const ends = await send(t, backend, submission(parts, subject, [shell('sleep 1')]));
  const [end] = await backend.status(ends, { signal, patience: 120_000 });
  t.is(end !== undefined && 'value' in end ? end.value.state : '', 'done', 'one question was enough');
  const stays = await send(t, backend, submission(parts, subject, [shell('sleep 600')]));
  const [word] = await backend.status(stays, { signal, patience: 200 });
  t.regex(word !== undefined && 'value' in word ? word.value.state : '', /^(?:queued|running)$/);
  await backend.cancel(stays, { signal });
});

test('what sbatch refuses is not there, and is said in a line with a hint', async (t) => {
  const parts = guestParts(t);
  const wrong: readonly (readonly [SlurmOptions, RegExp, RegExp])[] = [
    [{ partition: 'nowhere' }, /invalid partition specified: nowhere/i, /--partition/],
    [{ options: ['--mem=9000G'] }, /Memory specification/, /--mem/],
    [{ options: ['--bogus'] }, /unrecognized option '--bogus'$/, /options in the target/],
    [{ options: ['--constraint=none'] }, /Invalid feature/, /options in the target/],
    [{ options: ['--begin=whenever'] }, /--begin/, /options in the target/],
  ];
  for (const [options, words, hint] of wrong) {
    const subject = await open(t, options);
    if (parts === undefined || subject === undefined) return;
    const what = submission(parts, subject, [shell('true')]);
    const accepted = (): Promise<void> => Promise.reject(new Error('accepted'));
    const [result] = await subject.backend.submit(what, { signal, progress: silent, accepted });
    const error = result !== undefined && 'error' in result ? result.error : undefined;
    if (!(error instanceof ApppotError)) throw new Error('it was taken');
    t.is(error.code, 'target');
    t.regex(error.message, words);
    t.regex(error.hint ?? '', hint);
    // Slurm remembers some refused jobs; nobody takes them for anything else.
    const remembered = [...(await subject.backend.find(what.id, { signal })).values()];
    for (const status of await statuses(subject.backend, remembered))
      t.like(status, { state: 'failed', reason: 'staging' });
  }
});

test('a job that Slurm takes and can never start says so, with what to do', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t, { partition: 'short' });
  if (parts === undefined || subject === undefined) return;
  const [long] = await send(
    t,
    subject.backend,
    submission(parts, subject, [shell('true')], { time: 36_000 }),
  );
  const [wide] = await send(t, subject.backend, submission(parts, subject, [shell('true')], { cpus: 99 }));
  if (long === undefined || wide === undefined) return;
  const told = async (job: RemoteJob, words: RegExp): Promise<void> => {
    for (let tries = 0; tries < 300; tries += 1) {
      const [status] = await statuses(subject.backend, [job]);
      t.is(status?.state, 'queued');
      if (words.test(status?.message ?? '')) return;
      await delay(100);
    }
    t.fail(`nothing like ${String(words)} is said`);
  };
  await told(long, /never starts: .* --time/);
  await told(wide, /no node .* ask for less/);
  await subject.backend.cancel([long, wide], { signal });
});

test('the same submission is never sent twice', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  if (parts === undefined || subject === undefined) return;
  const what = submission(parts, subject, [shell('echo once')]);
  t.deepEqual(await send(t, subject.backend, what), await send(t, subject.backend, what));
});

const outcome = (more: object) =>
  parseOutcome(JSON.stringify({ origin: 'job', exitCode: 143, signal: 15, terminated: true, ...more }));

test('every way to be lost has its reason; the outcome comes before Slurm’s word', (t) => {
  const none = { started: true, gone: false };
  const word = (state: string) => ({ state, ended: 1000 });
  const reasons = Object.fromEntries(
    ['TIMEOUT', 'DEADLINE', 'OUT_OF_MEMORY', 'NODE_FAIL', 'BOOT_FAIL', 'PREEMPTED', 'CANCELLED'].map(
      (state) => {
        const found = decide(word(state), none, 1001);
        return [state, `${found.state} ${found.reason ?? ''}`];
      },
    ),
  );
  t.deepEqual(reasons, {
    TIMEOUT: 'failed time-limit',
    DEADLINE: 'failed time-limit',
    OUT_OF_MEMORY: 'failed out-of-memory',
    NODE_FAIL: 'failed node-fail',
    BOOT_FAIL: 'failed node-fail',
    PREEMPTED: 'failed preempted',
    CANCELLED: 'cancelled cancelled',
  });
  const good = outcome({ exitCode: 0, signal: null });
  const bad = outcome({});
  if (good === undefined || bad === undefined) throw new Error('no outcome');
  t.is(decide(word('NODE_FAIL'), { ...none, outcome: good }, 1001).state, 'done');
  t.is(decide(word('PREEMPTED'), { ...none, outcome: bad }, 1001).reason, 'preempted');
  t.is(decide(word('COMPLETED'), none, 1001).state, 'finishing');
  t.is(decide(word('COMPLETED'), none, 2000).reason, 'launch');
  t.is(decide(undefined, none, 1).reason, 'node-fail');
  t.is(decide(undefined, { started: false, gone: true }, 1).state, 'unknown');
  t.is(decide(word('COMPLETING'), { ...none, outcome: good }, 1).state, 'finishing');
});

test('arrays with high indices are cut and moved; memory is the guest’s and what it needs beside it', (t) => {
  t.deepEqual(chunksOf([1, 1000], 1001), [{ shift: 0, indices: [1, 1000] }]);
  t.deepEqual(chunksOf([5, 5000, 5001, 6100], 1001), [
    { shift: 0, indices: [5] },
    { shift: 5000, indices: [5000, 5001] },
    { shift: 6100, indices: [6100] },
  ]);
  t.is(batchMemory(1000, {}), 1178);
  t.is(batchMemory(1000, { memoryFactor: 2, memoryOverhead: 10 }), 2010);
});

test('the batch script asks for no requeue, no environment, and a signal before the limit', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  if (parts === undefined || subject === undefined) return;
  const what = submission(parts, subject, [shell('true')], { time: 600 });
  const preview = await subject.backend.preview(what);
  const script = preview.get('apppot-parts/job.sbatch') ?? '';
  for (const line of ['--no-requeue', '--export=NONE', '--time=00:10:00', '--signal=B:TERM@'])
    t.true(script.includes(`#SBATCH ${line}`), `line ${line}`);
  const [job] = await send(t, subject.backend, what);
  if (job === undefined) return;
  await until(subject.backend, [job], ['done']);
  t.regex(await readFile(join(job.folder ?? '', '..', 'apppot-parts', 'job'), 'utf8'), /^limit=560$/m);
});

test('the accounting is asked about what the queue forgot, and that it fails here harms nothing', async (t) => {
  const parts = guestParts(t);
  const held = await open(t, { options: ['--hold'] });
  const asked: { words: string; code: number }[] = [];
  const forgetful = await open(
    t,
    {},
    new (class extends LocalTransport {
      override async run(...args: Parameters<LocalTransport['run']>): Promise<RemoteResult> {
        const words = args[0].join(' ');
        if (words.includes('squeue'))
          return { code: 0, stdout: `${Math.floor(Date.now() / 1000)}\n`, stderr: '' };
        const result = await super.run(...args);
        if (words.includes('sacct')) asked.push({ words, code: result.code });
        return result;
      }
    })(),
  );
  if (parts === undefined || held === undefined || forgetful === undefined) return;
  const [job] = await send(t, held.backend, submission(parts, held, [shell('true')]));
  const [done] = await send(t, forgetful.backend, submission(parts, forgetful, [shell('true')]));
  if (job === undefined || done === undefined) return;
  await until(held.backend, [done]);
  await held.backend.cancel([job], { signal });
  const [one, two] = await statuses(forgetful.backend, [job, done]);
  t.like(one, { state: 'cancelled', reason: 'cancelled' });
  t.like(two, { state: 'done', exitCode: 0 });
  t.is(asked.length, 1);
  t.true(asked[0]?.words.includes(`-j ${job.native}`));
  // A lab without accounting: it says no, in whatever way this version does.
  t.not(asked[0]?.code, 0);
  t.like((await statuses(held.backend, [job]))[0], { state: 'cancelled' });
});

test('at its time limit a job ends cleanly and its results are there; one that cannot is timed out by Slurm', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  if (parts === undefined || subject === undefined) return;
  const { backend } = subject;
  const script = 'trap "echo asked >>early; exit 3" TERM; echo begun >early; while :; do sleep 0.2; done';
  const what = (text: string) => submission(parts, subject, [shell(text)], { time: 60, stageOut: ['early'] });
  const [clean] = await send(t, backend, what(script));
  const [frozen] = await send(t, backend, what('sleep 1000'));
  if (clean === undefined || frozen === undefined) return;
  await until(backend, [frozen], ['running']);
  // Frozen, neither the guest nor its launch can end in time.
  await freeze(join(frozen.folder ?? '', '..', 'apppot-parts', 'started.0', 'process'));
  const [one, two] = await until(backend, [clean, frozen], ['done', 'failed', 'cancelled'], 180_000);
  t.like(one, { state: 'failed', reason: 'time-limit' });
  t.like(two, { state: 'failed', reason: 'time-limit', native: 'TIMEOUT' });
  t.regex(two?.message ?? '', /time limit/);
  const folder = await newFolder(t);
  await backend.fetch(clean, folder, { signal, progress: silent, outputs: ['early'] });
  t.is(await readFile(join(folder, 'early'), 'utf8'), 'begun\nasked\n');
});

test('a job has all the memory that it asked for; when it or its guest takes more, each is told in its own words', async (t) => {
  const parts = guestParts(t);
  const subject = await open(t);
  // Less than the guest may take, as a site's default may be: Slurm itself has to end it.
  const tight = await open(t, { options: ['--mem=200'] });
  if (parts === undefined || subject === undefined || tight === undefined) return;
  // dd(1) holds a block in memory, tail(1) a line. Files have to find their place beside that; those that are not yet on
  // the disk count as memory in use, and how much of them there is depends on the machine.
  const both =
    'dd if=/dev/zero of=/var/tmp/full bs=1M count=500; sync; dd if=/dev/zero bs=450M count=1 | wc -c';
  const line = shell('head -c 600M /dev/zero | tail -n 1');
  const send512 = (to: typeof subject, task: ReturnType<typeof shell>) =>
    send(t, to.backend, submission(parts, to, [task], { memory: 512 }));
  const [fits] = await send512(subject, shell(both));
  const [guest] = await send512(subject, line);
  const [host] = await send512(tight, line);
  if (fits === undefined || guest === undefined || host === undefined) return;
  const [one, two, three] = await until(subject.backend, [fits, guest, host], undefined, 120_000);
  t.like(one, { state: 'done', exitCode: 0 });
  const said = (await subject.backend.read(fits, 'stdout', NAMES))?.toString() ?? '';
  t.regex(said, /^471859200\n/);
  t.like(two, { state: 'failed', reason: 'out-of-memory' });
  t.regex(two?.message ?? '', /memory of its guest was used up/);
  t.like(three, { state: 'failed', reason: 'out-of-memory', native: 'OUT_OF_MEMORY' });
  t.regex(three?.message ?? '', /^Slurm ended it: it took more memory/);
});

/** Stops the session of the process in this file, once it is written. */
async function freeze(file: string): Promise<void> {
  let pid = '';
  for (let tries = 0; pid === ''; tries += 1) {
    if (tries > 600) throw new Error(`${file} is not written`);
    [pid = ''] = (await readFile(file, 'utf8').catch(() => '')).split(' ');
    await delay(100);
  }
  const { stdout } = await run('ps', ['-eo', 'pid=,ppid=']);
  const children = stdout.split('\n').map((line) => line.trim().split(/\s+/));
  const all = [pid];
  for (const one of all)
    all.push(...children.filter(([, parent]) => parent === one).map(([child = '']) => child));
  for (const one of all) process.kill(Number(one), 'SIGSTOP');
}
