import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { LocalBackend } from '../../src/grid/local/backend.ts';
import { run } from '../../src/process/run.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import { listedWords } from '../helpers/processes.ts';
import { contractTests, NAMES, send, shell, submission, until } from './contract.ts';

const subject = (folder: string) => ({
  backend: new LocalBackend({
    name: 'local',
    folder: join(folder, 'sand boxes'),
    parallel: 2,
    allowLoginNode: true,
  }),
  batch: false,
});

contractTests('local', async (t) => subject(await newFolder(t)));

test('a time limit ends a job, and its results are there', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { backend } = subject(await newFolder(t));
  const script = "trap 'echo saved >result; exit 7' TERM; sleep 60 & wait";
  const jobs = await send(t, backend, submission(parts, { batch: false }, [shell(script)], { time: 2 }));
  t.like((await until(backend, jobs))[0], { state: 'failed', reason: 'time-limit', exitCode: 124 });
  t.is(await readFile(join(jobs[0]?.native ?? '', 'result'), 'utf8'), 'saved\n');
});

test('jobs whose supervisor was killed are settled: what runs ends well, what waited is lost and not running', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { backend } = subject(await newFolder(t));
  const tasks = [1, 2].map((index) => ({ ...shell('sleep 1; echo well'), index }));
  const what = submission(parts, { batch: false }, tasks, {}, { parallel: 1 });
  const jobs = await send(t, backend, what);
  await until(backend, jobs, ['running', 'queued']);
  while ((await backend.status(jobs)).every((one) => 'value' in one && one.value.state !== 'running'))
    await delay(50);
  const supervisor = await readFile(join(jobs[0]?.native ?? '', '..', 'apppot-parts', 'supervisor'), 'utf8');
  process.kill(Number(supervisor.split(' ')[0]), 'SIGKILL');
  const [one, two] = await until(backend, jobs);
  t.like(one, { state: 'done' });
  t.like(two, { state: 'failed', reason: 'node-fail' });
});

test('apppot-job starts a task once, and never again', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { backend } = subject(await newFolder(t));
  const [job] = await send(t, backend, submission(parts, { batch: false }, [shell('echo once >>count')]));
  if (job === undefined) return;
  await until(backend, [job]);
  for (const sh of [['dash'], ['busybox', 'ash']]) {
    const words = [...sh.slice(1), join(job.native, '..', 'apppot-parts', 'apppot-job'), '0'];
    const { exitCode, stderr } = await run(sh[0] ?? '', words, { cwd: job.native, okCodes: 'any' });
    t.is(exitCode, 125);
    t.regex(stderr, /has been started before/);
  }
  t.is(await readFile(join(job.native, 'count'), 'utf8'), 'once\n');
});

test('values of variables are in no list of processes, and nobody else can read them', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { backend } = subject(await newFolder(t));
  const secret = `hush-${process.pid}-job`;
  const task = { ...shell('printf %s "$TOKEN"; exec sleep 60'), env: { TOKEN: `${secret}\nand more` } };
  const seen = new Set<string>();
  const look = (): void => {
    for (const words of listedWords()) if (words.includes(secret)) seen.add(words);
  };
  const timer = setInterval(look, 20);
  const [job] = await send(t, backend, submission(parts, { batch: false }, [task]));
  if (job === undefined) return;
  const output = async (): Promise<string> => (await backend.read(job, 'stdout', NAMES))?.toString() ?? '';
  while (!(await output()).endsWith('and more')) await delay(50);
  look();
  clearInterval(timer);
  await backend.cancel([job]);
  await until(backend, [job]);
  t.is(await output(), `${secret}\nand more`);
  t.deepEqual([...seen], []);
  // Who cannot enter these folders can read nothing in them.
  for (const folder of [job.native, join(job.native, '..'), join(job.native, '..', 'apppot-parts')])
    t.is((await stat(folder)).mode & 0o777, 0o700);
});
