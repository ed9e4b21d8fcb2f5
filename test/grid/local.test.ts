import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { ApppotError } from '../../src/errors.ts';
import { LocalBackend } from '../../src/grid/local/backend.ts';
import { takeSlots } from '../../src/grid/local/slots.ts';
import { run } from '../../src/process/run.ts';
import { silent } from '../../src/progress.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import { listedWords } from '../helpers/processes.ts';
import { contractTests, NAMES, send, shell, signal, submission, until } from './contract.ts';

const slotsUrl = new URL('../../src/grid/local/slots.js', import.meta.url).href;

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

test('jobs of two submissions, and tasks of one, share the processors that local jobs may use', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = await newFolder(t);
  const open = () =>
    new LocalBackend({ name: 'local', folder: join(folder, 'jobs'), parallel: 1, allowLoginNode: true });
  const task = shell('date +%s%N >begin; sleep 0.3; date +%s%N >end');
  const both = [open(), open()].map(async (backend) => {
    const tasks = [1, 2].map((index) => ({ ...task, index }));
    const jobs = await send(t, backend, submission(parts, { batch: false }, tasks));
    const ends = await until(backend, jobs);
    t.true(ends.every(({ state }) => state === 'done'));
    return jobs.map(({ native }) => native);
  });
  const times = await Promise.all(
    (await Promise.all(both)).flat().map(async (job) => {
      const time = async (name: string) => BigInt((await readFile(join(job, name), 'utf8')).trim());
      return [await time('begin'), await time('end')] as const;
    }),
  );
  times.sort(([one], [other]) => (one < other ? -1 : 1));
  times.slice(1).forEach(([begin], at) => {
    t.true(begin > (times[at]?.[1] ?? begin), `task ${at + 2} began before the one before it had ended`);
  });
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

test('a folder for jobs that others can write to is refused before anything runs in it', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = await newFolder(t);
  const { backend } = subject(folder);
  await mkdir(join(folder, 'sand boxes'));
  await chmod(join(folder, 'sand boxes'), 0o777);
  const what = submission(parts, { batch: false }, [shell('touch ran')]);
  const error = await t.throwsAsync(send(t, backend, what), { instanceOf: ApppotError });
  t.is(error.code, 'permission');
  t.regex(error.message, /Others can write/);
  t.deepEqual(await backend.list(), []);
  await chmod(join(folder, 'sand boxes'), 0o755);
  const [job] = await send(t, backend, submission(parts, { batch: false }, [shell('touch ran')]));
  t.like((await until(backend, job === undefined ? [] : [job]))[0], { state: 'done' });
});

test('results whose names cannot be used are named, and the others come', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = await newFolder(t);
  const { backend } = subject(folder);
  const script = 'touch good "new\nline" "$(printf \'\\033[2Jescape\')"; ln -s /etc/passwd link';
  const [job] = await send(t, backend, submission(parts, { batch: false }, [shell(script)]));
  if (job === undefined) return;
  await until(backend, [job]);
  const notes: string[] = [];
  const files = await backend.fetch(job, join(folder, 'results'), {
    signal,
    outputs: ['*'],
    progress: { ...silent, note: (text) => notes.push(text) },
  });
  t.deepEqual([...files].sort(), ['good', 'outcome.json', 'stderr.txt', 'stdout.txt']);
  t.regex(notes.join('\n'), /because of their names: .*"new\\nline"/);
  t.regex(notes.join('\n'), /\\u001b\[2Jescape/);
  t.regex(notes.join('\n'), /no files: link/);
  t.deepEqual((await readdir(join(folder, 'results'))).sort(), [...files].sort());
});

test('processors of a job whose supervisor was killed are free again, and nobody else can take any', async (t) => {
  const folder = join(await newFolder(t), 'seats');
  const script = `import { takeSlots } from ${JSON.stringify(slotsUrl)};
await takeSlots(${JSON.stringify(folder)}, 2, 2, () => true); process.stdout.write('held'); setInterval(() => 0, 1e6);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.is(String((await once(holder.stdout, 'data'))[0]), 'held');
  let rounds = 0;
  t.is(await takeSlots(folder, 1, 2, () => (rounds += 1) < 3), undefined);
  t.is((await stat(folder)).mode & 0o777, 0o700);
  holder.kill('SIGKILL');
  await once(holder, 'close');
  const release = await takeSlots(folder, 2, 2, () => true);
  await release?.();
  t.deepEqual(await readdir(folder), []);
});
