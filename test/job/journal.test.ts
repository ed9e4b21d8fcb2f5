import test from 'ava';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { packageFile } from '../../src/config/paths.ts';
import { Journal } from '../../src/job/journal.ts';
import type { JobRecord } from '../../src/job/record.ts';
import { newSubmissionId } from '../../src/job/sandbox.ts';
import { run } from '../../src/process/run.ts';
import { newFolder } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

function record(tasks = 1): JobRecord {
  return {
    format: 1,
    id: newSubmissionId(),
    created: new Date().toISOString(),
    target: 'local',
    description: { name: 'x' } as JobRecord['description'],
    tasks: Array.from({ length: tasks }, (_, index) => ({ index, program: ['true'], env: {} })),
    taskInputs: [],
    after: [],
    folder: '/',
  };
}

/** A client of the journal in a process of its own, which says a number after each thing that is on the disk. */
const CLIENT = `
import { Journal } from '${pathToFileURL(packageFile('dist/src/job/journal.js')).href}';
const [folder, id, from] = process.argv.slice(1);
const job = await (await Journal.open(folder)).load(id);
for (let at = Number(from); ; at += 1) {
  await job.add({ e: 'accepted', id, jobs: { [at]: { native: 'x'.repeat(at % 300) + at } } });
  process.stdout.write(at + '\\n');
}`;

test('a client that is killed has written down all that it said, and the next one goes on', async (t) => {
  const folder = await newFolder(t);
  const journal = await Journal.open(folder);
  const job = await journal.create(record(100_000));
  await job.add({ e: 'attempt', at: '', id: job.record.id, tasks: job.record.tasks.map((_, at) => at) });
  let said = -1;
  for (let round = 0; round < 5; round += 1) {
    const words = ['--input-type=module', '-e', CLIENT, folder, job.record.id, String(said + 1)];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    while (!text.includes('\n')) await delay(5);
    await delay(Math.random() * 60);
    child.kill('SIGKILL');
    await once(child, 'close');
    const lines = text.split('\n').slice(0, -1);
    t.true(lines.length > 0);
    said = Number(lines.at(-1));
    const again = await (await Journal.open(folder)).load(job.record.id);
    const missing = lines.filter(
      (at) => again?.tasks[Number(at)]?.remote?.native !== `${'x'.repeat(Number(at) % 300)}${at}`,
    );
    t.deepEqual(missing, []);
  }
});

test('a line that was cut short spoils neither those before nor those after it', async (t) => {
  const journal = await Journal.open(await newFolder(t));
  const job = await journal.create(record(2));
  await job.add({ e: 'attempt', at: '', id: job.record.id, tasks: [0, 1] });
  await appendFile(join(job.folder, 'log'), '{"e":"accepted","id":"appp');
  await job.add({ e: 'accepted', id: job.record.id, jobs: { 1: { native: 'n' } } });
  const again = await journal.load(job.record.id);
  t.deepEqual(
    again?.tasks.map(({ status }) => status.state),
    ['staging', 'queued'],
  );
});

test('two clients at once lose nothing, and only one of them at a time holds a job', async (t) => {
  const folder = await newFolder(t);
  const one = await (await Journal.open(folder)).create(record(200));
  const two = await (await Journal.open(folder)).load(one.record.id);
  const id = one.record.id;
  const other = two ?? one;
  t.not(other, one);
  await one.add({ e: 'attempt', at: '', id, tasks: one.record.tasks.map((_, at) => at) });
  await Promise.all(
    one.record.tasks.map((_, at) =>
      (at % 2 === 0 ? one : other).add({ e: 'accepted', id, jobs: { [at]: { native: String(at) } } }),
    ),
  );
  await one.reload();
  t.true(one.tasks.every(({ remote }, at) => remote?.native === String(at)));
  let inside = 0;
  const work = async (): Promise<void> => {
    inside += 1;
    t.is(inside, 1);
    await delay(20);
    inside -= 1;
  };
  const signal = new AbortController().signal;
  await Promise.all([one, other].map((job) => job.locked(signal, () => undefined, work)));
});

test('a journal of a newer AppPot is left alone', async (t) => {
  const folder = await newFolder(t);
  await writeFile(join(folder, 'format'), '2\n');
  await t.throwsAsync(Journal.open(folder), { message: /newer AppPot/, code: 'journal' });
  t.deepEqual(await readdir(folder), ['format']);
});

test('on a full disk nothing is half written, and what there is room for later is there', async (t) => {
  const folder = join(await newFolder(t), 'small');
  await mkdir(folder);
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]).then(
    () => true,
    () => false,
  );
  if (!requireOrSkip(t, mounted || process.getuid?.() !== 0, 'no tmpfs can be mounted') || !mounted) return;
  try {
    const journal = await Journal.open(folder);
    const job = await journal.create(record(1000));
    const id = job.record.id;
    await job.add({ e: 'attempt', at: '', id, tasks: [0, 1] });
    await writeFile(join(folder, 'filler'), Buffer.alloc(60_000)).catch(() => undefined);
    const long = { native: 'n'.repeat(9000) };
    await t.throwsAsync(
      (async () => {
        for (let at = 0; at < 50; at += 1) await job.add({ e: 'accepted', id, jobs: { [at + 2]: long } });
      })(),
      { code: 'no-space' },
    );
    await t.throwsAsync(journal.create(record(1000)), { code: 'no-space' });
    t.deepEqual(
      (await journal.list()).map(({ record: { id: one } }) => one),
      [id],
    );
    await run('rm', [join(folder, 'filler')]);
    await job.add({ e: 'accepted', id, jobs: { 0: { native: 'after' } } });
    t.is((await journal.load(id))?.tasks[0]?.remote?.native, 'after');
    t.false((await readFile(join(job.folder, 'log'), 'utf8')).endsWith('nn'));
  } finally {
    await run('umount', [folder]);
  }
});
