/** Slurm through ssh, when things go wrong: nothing is lost, nothing runs twice. Long form: test/soak. */
import test from 'ava';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/process/run.ts';
import { gridClient, sshConfig, type GridClient, type ListedJob } from '../helpers/grid-client.ts';
import { labPart } from '../helpers/grid.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { startProxy } from '../helpers/sshd.ts';

let client: GridClient | undefined;

test.before(async (t) => {
  client = await gridClient(t);
});
test.after.always(async () => {
  await client?.remove();
});

async function setTarget(
  { configure, image, runtime }: GridClient,
  config: string,
  more = '',
): Promise<void> {
  await configure(
    `[target vega]\ntype = slurm\nssh = lab\nssh_config = ${config}\nimage = site:${image}\nruntime = ${runtime}\npoll = 1\n${more}`,
  );
}

async function jobs({ apppot }: GridClient): Promise<ListedJob[]> {
  return JSON.parse((await apppot(['jobs', 'list', '--json'])).stdout || '[]') as ListedJob[];
}

/** How many jobs Slurm was given by this name. */
async function given({ lab }: GridClient, name: string): Promise<number> {
  const { stdout } = await run('scontrol', ['-o', 'show', 'jobs'], { env: { SLURM_CONF: lab.slurm.conf } });
  return stdout.split('\n').filter((line) => line.includes(` JobName=${name} `)).length;
}

test.serial('an upload that is cut goes on, and the job runs once', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const { apppot, folder } = client;
  const proxy = await startProxy(client.lab.ssh.port);
  await setTarget(client, await sshConfig(client, proxy.port));
  await writeFile(join(folder, 'big.bin'), Buffer.alloc(6_000_000, 'x'));
  proxy.cutAfter(2_500_000, 2);
  const name = `cut${process.pid}`;
  const sent = await apppot([
    ...[
      'submit',
      '--to',
      'vega',
      '-J',
      name,
      '-m',
      '128',
      '-t',
      '5',
      '--stage-in',
      'big.bin',
      '--wait',
      '--json',
    ],
    ...['--', 'wc', '-c', 'big.bin'],
  ]);
  t.is(sent.code, 0, `said: ${sent.stderr}`);
  t.true(proxy.cuts() >= 1);
  t.is(await given(client, name), 1);
  await apppot(['jobs', 'fetch', name, '--into', name]);
  t.regex(await readFile(join(folder, name, 'stdout.txt'), 'utf8'), /^6000000 big\.bin/);
  await proxy.stop();
});

test.serial('while slurmctld is away a running job is unknown, never failed, and then done', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const { apppot } = client;
  await setTarget(client, await sshConfig(client, client.lab.ssh.port));
  const name = `away${process.pid}`;
  const sent = await apppot([
    'submit',
    '--to',
    'vega',
    '-J',
    name,
    '-m',
    '128',
    '-t',
    '5',
    '--',
    'sleep',
    '8',
  ]);
  t.is(sent.code, 0, `said: ${sent.stderr}`);
  await labPart('stop', 'slurmctld');
  try {
    const { stdout } = await apppot(['jobs', 'list', name, '--json']);
    const [job] = JSON.parse(stdout) as ListedJob[];
    t.false(['failed', 'cancelled'].includes(job?.state ?? 'failed'), `said: ${stdout}`);
  } finally {
    await labPart('start', 'slurmctld');
  }
  const waited = await apppot(['jobs', 'wait', name]);
  t.is(waited.code, 0, `said: ${waited.stderr}`);
  t.is(await given(client, name), 1);
});

test.serial('a full disk at the site is said, and nothing is left in doubt', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const { apppot, folder, lab } = client;
  const small = join(lab.folder, 'small');
  await run('mkdir', ['-p', small]);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=1777', 'tmpfs', small]);
  try {
    await setTarget(client, await sshConfig(client, lab.ssh.port), `folder = ${small}/jobs\n`);
    await writeFile(join(folder, 'large.bin'), Buffer.alloc(4_000_000, 'x'));
    const name = `full${process.pid}`;
    const sent = await apppot([
      ...['submit', '--to', 'vega', '-J', name, '-m', '128', '-t', '5', '--stage-in', 'large.bin'],
      ...['--', 'true'],
    ]);
    t.is(sent.code, 1);
    t.regex(sent.stderr, /No space left/);
    t.is(await given(client, name), 0);
    const [job] = (await jobs(client)).filter((one) => one.name === name);
    t.not(job?.state, 'done');
  } finally {
    await run('umount', [small]);
  }
});

test.serial('every way to lose a job is told apart, in words and in JSON', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const { apppot, lab } = client;
  await setTarget(client, await sshConfig(client, lab.ssh.port));
  const slurm = (...words: readonly [string, ...string[]]) =>
    run(words[0], words.slice(1), { env: { SLURM_CONF: lab.slurm.conf }, okCodes: 'any' });
  const node = (await slurm('sinfo', '-h', '-p', 'main', '-o', '%n')).stdout.trim();
  /** Sends a job, waits until it runs, and lets something happen to it. */
  const lose = async (name: string, program: string, happens?: (id: string) => Promise<unknown>) => {
    const sent = await apppot([
      ...['submit', '--to', 'vega', '-J', name, '-m', '128', '-t', '5', '--json', '--', 'sh', '-c', program],
    ]);
    t.is(sent.code, 0, `said: ${sent.stderr}`);
    const id = (JSON.parse(sent.stdout) as ListedJob).tasks[0]?.remote ?? '';
    if (happens !== undefined) {
      for (let tries = 0; !(await apppot(['jobs', 'logs', name])).stdout.includes('begun'); tries += 1)
        if (tries > 200) throw new Error(`${name} does not begin`);
      await happens(id);
    }
    const waited = await apppot(['jobs', 'wait', name]);
    t.is(waited.code, 1, `said: ${waited.stderr}`);
    const shown = await apppot(['jobs', 'show', name, '--json']);
    const [job] = JSON.parse(shown.stdout) as {
      tasks: { state: string; reason?: string; message?: string }[];
    }[];
    const { state = '', reason = '' } = job?.tasks[0] ?? {};
    return { told: `${state} ${reason}`, words: (await apppot(['jobs', 'list', name])).stdout };
  };
  const wait = 'echo begun; sleep 300';

  const cancelled = await lose(`c${process.pid}`, wait, (id) => slurm('scancel', id));
  t.is(cancelled.told, 'cancelled cancelled');

  const preempted = await lose(`p${process.pid}`, wait, () =>
    slurm('sbatch', '-p', 'urgent', '--exclusive', '-o', '/dev/null', '--wrap', 'true'),
  );
  t.is(preempted.told, 'failed preempted');
  t.regex(preempted.words, /preempted by another job/);

  const memory = await lose(`m${process.pid}`, 'head -c 400000000 /dev/zero | tail -n 1');
  t.is(memory.told, 'failed out-of-memory');
  t.regex(memory.words, /out-of-memory/);

  try {
    const failed = await lose(`n${process.pid}`, wait, () =>
      slurm('scontrol', 'update', `nodename=${node}`, 'state=down', 'reason=test'),
    );
    t.is(failed.told, 'failed node-fail');
    t.regex(failed.words, /node failed/);
  } finally {
    await slurm('scontrol', 'update', `nodename=${node}`, 'state=resume');
  }
});
