import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { LocalBackend } from '../../src/grid/local/backend.ts';
import { run } from '../../src/process/run.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import { contractTests, send, shell, signal, submission, until } from './contract.ts';

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

test('a client that is killed at any moment of submit and fetch loses nothing and doubles nothing', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = await newFolder(t);
  const rounds = Number(process.env['APPPOT_TEST_KILLS'] ?? 5);
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    XDG_STATE_HOME: join(folder, 'state'),
    APPPOT_RUNTIME: parts.runtime,
    APPPOT_IMAGE: parts.image,
    APPPOT_TARGET_LOCAL_LOGIN_NODE: 'allow',
  };
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  const call = async (words: readonly string[], limit?: number): Promise<string> => {
    const child = spawn(process.execPath, [cli, ...words], {
      cwd: folder,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const timer = limit === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), limit);
    await once(child, 'close');
    clearTimeout(timer);
    return text;
  };
  await writeFile(join(folder, 'input'), 'x'.repeat(100_000));
  const program = ['--', 'sh', '-c', 'cat input >copy; echo $APPPOT_JOB_ID >>"/proc/self/cwd/id"'];
  const submit = ['submit', '-q', '--stage-in', 'input', '--mem', '192', '-a', '1-2', ...program];
  const started = performance.now();
  await call(submit);
  const usual = performance.now() - started;
  for (let round = 0; round < rounds; round += 1) await call(submit, Math.random() * usual * 1.2);
  await call(['jobs', 'reconcile', '-q']);
  // What never got there is sent now; what did is not sent again.
  await call(['jobs', 'resubmit', '--all', '-q']).catch(() => undefined);
  await call(['jobs', 'wait', '--all', '-q']);
  for (let round = 0; round < rounds; round += 1)
    await call(['jobs', 'fetch', '--all', '-q'], 100 + Math.random() * 400);
  await call(['jobs', 'fetch', '--all', '-q']);
  const jobs = JSON.parse(await call(['jobs', 'list', '--json'])) as {
    state: string;
    tasks: { state: string; fetched: string }[];
  }[];
  t.true(jobs.length >= 1);
  const ids: string[] = [];
  for (const job of jobs) {
    t.is(job.state, 'done');
    for (const { fetched } of job.tasks) {
      t.is((await readFile(join(fetched, 'copy'))).length, 100_000);
      ids.push(await readFile(join(fetched, 'id'), 'utf8'));
    }
  }
  // Each task ran once: one line, of one attempt.
  t.true(ids.every((id) => /^apppot-[0-9a-f]{16}\n$/.test(id)));
  await call(['jobs', 'clean', '--all', '-q']);
  t.is(await call(['jobs', 'list']), '');
  signal.throwIfAborted();
});
