/**
 * kill -9 of the client at random moments, on every kind of target. Nothing is lost, and the site counts how often each
 * task was launched. APPPOT_TEST_KILLS rounds of both; 30 in "npm run soak -- kills".
 */
import test, { type ExecutionContext } from 'ava';
import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { arcTarget, gridClient, sshConfig, type GridClient, type ListedJob } from '../helpers/grid-client.ts';
import type { CliResult } from '../helpers/cli.ts';
import { requireOrSkip } from '../helpers/require.ts';

const ROUNDS = Number(process.env['APPPOT_TEST_KILLS'] ?? 4);
const TARGETS = ['here', 'slurm', 'vega', 'ce'] as const;
const RESULTS = ['out1', 'out2', 'out3'];
const SIZE = 12 * 2 ** 20;

let client: GridClient | undefined;
/** Where the site counts: a line for each launch, with the submission and the task's index. */
let counter = '';

test.before(async (t) => {
  client = await gridClient(t);
  if (client === undefined) return;
  const { lab, image, runtime, folder } = client;
  const site = join(lab.folder, `counting ${process.pid}`);
  counter = join(site, 'launches');
  await mkdir(site);
  await writeFile(counter, '');
  await chmod(counter, 0o666);
  const words = [
    '#!/bin/sh',
    'for word do case $word in --) break ;; APPPOT_JOB_ID=*) id=${word#*=} ;; SLURM_ARRAY_TASK_ID=*) task=${word#*=} ;; esac; done',
    `echo "$id $task" >>'${counter}'`,
    `exec sh '${runtime}/apppot-start' "$@"`,
  ];
  await writeFile(join(site, 'apppot-start'), `${words.join('\n')}\n`, { mode: 0o755 });
  const own = join(folder, 'jobs here');
  const common = `image = site:${image}\nruntime = ${site}\npoll = 1\n`;
  const ssh = await sshConfig(client, lab.ssh.port);
  await client.configure(
    `[target here]\ntype = local\nfolder = ${own}\nlogin_node = allow\nimage = ${image}\nruntime = ${site}\n` +
      `[target slurm]\ntype = slurm\n${common}` +
      `[target vega]\ntype = slurm\nssh = lab\nssh_config = ${ssh}\n${common}${arcTarget(client, { runtime: site })}`,
  );
});
test.after.always(async () => {
  await client?.remove();
});

/** What the journal holds of a job: all its events. */
interface Event {
  readonly e: string;
  readonly id: string;
  readonly tasks: readonly number[];
}

async function events({ person }: GridClient, desk: string, job: string): Promise<readonly Event[]> {
  const file = join(person.home, `state of ${desk}`, 'apppot', 'jobs', job, 'log');
  const lines = (await readFile(file, 'utf8')).split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Event);
}

/** Launches by submission and index (1 and 2 are the indices of positions 0 and 1). */
async function launches(): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const line of (await readFile(counter, 'utf8')).split('\n').filter(Boolean))
    counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}

async function list({ apppot }: GridClient): Promise<readonly ListedJob[]> {
  return JSON.parse((await apppot(['jobs', 'list', '--json'])).stdout || '[]') as ListedJob[];
}

/** How long it takes when nobody kills it, milliseconds. */
async function timed(call: Promise<CliResult>, t: ExecutionContext): Promise<number> {
  const started = performance.now();
  const { code, stderr } = await call;
  t.is(code, 0, `said: ${stderr}`);
  return performance.now() - started;
}

/** Kills submissions, settles each, and sends again what did not get there. */
async function submissions(t: ExecutionContext, desk: GridClient, target: string): Promise<void> {
  const { apppot } = desk;
  await writeFile(join(desk.folder, 'in.txt'), 'data\n'.repeat(40_000));
  const words = [
    ...['submit', '--to', target, '-J', `k-${target}`, '-m', '128', '-t', '5', '-a', '1-2'],
    ...['--stage-in', 'in.txt', '--stage-out', 'copy', '--stage-out', 'ran', '--'],
    ...['sh', '-c', 'cp in.txt copy; echo ran >>ran'],
  ];
  const usual = await timed(apppot(words), t);
  let killed = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    // Before a tenth of it nothing has been done yet.
    if (await desk.killed(words, usual * (0.1 + Math.random()))) killed += 1;
    const settled = await apppot(['jobs', 'reconcile']);
    t.is(settled.code, 0, `said: ${settled.stderr}`);
    t.false((await list(desk)).some(({ state }) => ['new', 'unknown'].includes(state)));
  }
  await apppot(['jobs', 'wait', '--all']);
  const lost = (await list(desk)).filter(({ state }) => state !== 'done');
  if (lost.length > 0) {
    const again = await apppot(['jobs', 'resubmit', ...lost.map(({ id }) => id)]);
    t.is(again.code, 0, `said: ${again.stderr}`);
  }
  const waited = await apppot(['jobs', 'wait', '--all']);
  t.is(waited.code, 0, `said: ${waited.stderr}`);
  const known = await list(desk);
  const counts = await launches();
  let unsent = 0;
  for (const job of known) {
    t.is(job.state, 'done');
    const all = await events(desk, target, job.id);
    for (const { id } of all.filter(({ e }) => e === 'attempt'))
      for (const index of [1, 2]) t.true((counts.get(`${id} ${index}`) ?? 0) <= 1, `${id} ${index}`);
    for (const { id, tasks } of all.filter(({ e }) => e === 'refused')) {
      unsent += tasks.length;
      for (const position of tasks)
        t.false(counts.has(`${id} ${position + 1}`), 'said to be unsent, and ran');
    }
    const last = all.findLast(({ e }) => e === 'attempt')?.id ?? '';
    if (lost.every(({ id }) => id !== job.id)) t.is(counts.get(`${last} 1`), 1);
    const into = join(desk.folder, `results of ${job.shortId}`);
    t.is((await apppot(['jobs', 'fetch', job.id, '--into', into])).code, 0);
    for (const index of ['1', '2']) {
      t.is((await stat(join(into, index, 'copy'))).size, 200_000);
      t.is(await readFile(join(into, index, 'ran'), 'utf8'), 'ran\n');
    }
  }
  t.log(
    `${target}: ${killed} of ${ROUNDS} submissions killed; ${known.length} jobs in the journal, ${lost.length} of them (${unsent} tasks never sent) sent again; all done, none launched twice`,
  );
}

async function digest(file: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
}

/** Kills fetches of one job: whole files only, and the last one completes them. */
async function fetches(t: ExecutionContext, desk: GridClient, target: string): Promise<void> {
  const { apppot, folder } = desk;
  const script = `for i in 1 2 3; do head -c ${SIZE} /dev/urandom >out$i; done; sha256sum out1 out2 out3`;
  const words = [
    'submit',
    '--to',
    target,
    '-J',
    'big',
    '-m',
    '128',
    '-t',
    '5',
    '--stage-out',
    'out*',
    '--wait',
  ];
  await timed(apppot([...words, '--', 'sh', '-c', script]), t);
  const usual = await timed(apppot(['jobs', 'fetch', 'big', '--into', 'first']), t);
  let killed = 0;
  let whole = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    // Every third one from the beginning: otherwise most kills would find all there.
    const into = `results ${Math.floor(round / 3)}`;
    if (await desk.killed(['jobs', 'fetch', 'big', '--into', into], usual * (0.2 + 0.8 * Math.random())))
      killed += 1;
    const names = (await readdir(join(folder, into)).catch(() => [])).filter((name) =>
      RESULTS.includes(name),
    );
    for (const name of names) {
      t.is((await stat(join(folder, into, name))).size, SIZE);
      t.is(await digest(join(folder, into, name)), await digest(join(folder, 'first', name)));
    }
    whole += names.length;
  }
  for (let at = 0; at <= Math.floor((ROUNDS - 1) / 3); at += 1) {
    const into = `results ${at}`;
    await timed(apppot(['jobs', 'fetch', 'big', '--into', into]), t);
    const names = await readdir(join(folder, into));
    t.deepEqual(names.sort(), ['out1', 'out2', 'out3', 'outcome.json', 'stderr.txt', 'stdout.txt']);
    const sums = await Promise.all(
      RESULTS.map(async (name) => `${await digest(join(folder, into, name))}  ${name}\n`),
    );
    t.is(await readFile(join(folder, into, 'stdout.txt'), 'utf8'), sums.join(''));
  }
  t.log(`${target}: ${killed} of ${ROUNDS} fetches killed; ${whole} whole files seen after them, no other`);
}

for (const target of TARGETS)
  test(`a client that is killed at any moment loses nothing and doubles nothing: ${target}`, async (t) => {
    if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined)
      return;
    const desk = await client.desk(target);
    await submissions(t, desk, target);
    await fetches(t, desk, target);
  });
