/** Slurm through ssh, when things go wrong: nothing is lost, nothing runs twice. Long form: test/soak. */
import test from 'ava';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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

function targetText({ image, runtime }: GridClient, config: string, more = ''): string {
  return `[target vega]\ntype = slurm\nssh = lab\nssh_config = ${config}\nimage = site:${image}\nruntime = ${runtime}\npoll = 1\n${more}`;
}

async function setTarget(client: GridClient, config: string, more = ''): Promise<void> {
  await client.configure(targetText(client, config, more));
}

async function jobs({ apppot }: GridClient): Promise<ListedJob[]> {
  return JSON.parse((await apppot(['jobs', 'list', '--json'])).stdout || '[]') as ListedJob[];
}

/** The submissions that Slurm was given by this name. */
async function submissions({ lab }: GridClient, name: string): Promise<readonly string[]> {
  const { stdout } = await run('scontrol', ['-o', 'show', 'jobs'], { env: { SLURM_CONF: lab.slurm.conf } });
  const lines = stdout.split('\n').filter((line) => line.includes(` JobName=${name} `));
  return lines.map((line) => / Comment=(\S+)/.exec(line)?.[1] ?? '');
}

async function given(who: GridClient, name: string): Promise<number> {
  return (await submissions(who, name)).length;
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
  const { apppot, folder, lab, configure } = client;
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
    // It fits, and then fills the disk: by a file, and by what it prints.
    const checked = await apppot(['targets', 'check', 'vega']);
    t.regex(checked.stdout, /space +the disk is full: \d MiB free/);
    t.regex(checked.stdout, /space: Remove what you need no more/);
    await configure(
      `${targetText(client, await sshConfig(client, lab.ssh.port), `folder = ${small}/jobs\n`)}[target near]\ntype = local\nimage = ${client.image}\nruntime = ${client.runtime}\nfolder = ${small}/near\n`,
    );
    const fills = [
      ['vega', 'head -c 5000000 /dev/zero >big'],
      ['near', 'cat /dev/zero'],
    ] as const;
    for (const [target, script] of fills) {
      const words = ['submit', '--to', target, '-J', 'fills', '-m', '128', '--wait', '--json'];
      const ended = await apppot([...words, '--', 'sh', '-c', script]);
      t.is(ended.code, 1, `said: ${ended.stderr}`);
      t.regex(ended.stdout, /"reason": ?"no-space"/);
      t.regex(ended.stdout, /remove what is not needed there/);
      t.is((await apppot(['jobs', 'clean', '--force', 'fills'])).code, 0);
    }
  } finally {
    await run('umount', [small]);
  }
});

test.serial('a job that was cancelled or preempted at the site says so, in words and in JSON', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const { apppot, lab } = client;
  await setTarget(client, await sshConfig(client, lab.ssh.port));
  const slurm = (...words: readonly [string, ...string[]]) =>
    run(words[0], words.slice(1), { env: { SLURM_CONF: lab.slurm.conf }, okCodes: 'any' });
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
});

/** Slurm gives a node up that says nothing for so many seconds. */
async function setNodeTimeout({ lab }: GridClient, seconds: number): Promise<void> {
  const text = await readFile(lab.slurm.conf, 'utf8');
  await writeFile(lab.slurm.conf, text.replace(/^SlurmdTimeout=.*/m, `SlurmdTimeout=${seconds}`));
  await run('scontrol', ['reconfigure'], { env: { SLURM_CONF: lab.slurm.conf } });
}

test.serial(
  'a job goes on while slurmd and slurmctld start anew; when its node is gone it is sent again, if --retry says so',
  async (t) => {
    const who = client;
    if (!requireOrSkip(t, who !== undefined, 'no scientist at the grid lab') || who === undefined) return;
    const { apppot, lab } = who;
    const site = join(lab.folder, `site-${process.pid}`);
    await mkdir(site);
    // Of the account that jobs run under, as any folder for jobs: one that others can write to is refused.
    await run('chown', [lab.ssh.user, site]);
    await setTarget(who, await sshConfig(who, lab.ssh.port), `folder = ${site}\n`);
    // Each attempt leaves a line in its own folder, and ends by a word from here.
    const program = 'echo ran >>count; until [ -e go ]; do sleep 0.2; done';
    const submit = async (name: string, retry: string): Promise<void> => {
      const words = ['submit', '--to', 'vega', '-J', name, '-m', '128', '-t', '5', '--retry', retry, '--'];
      const sent = await apppot([...words, 'sh', '-c', program]);
      t.is(sent.code, 0, `said: ${sent.stderr}`);
    };
    const folders = async (name: string): Promise<string[]> =>
      (await submissions(who, name)).map((id) => join(site, id, '0'));
    const count = async (folder: string): Promise<string> =>
      readFile(join(folder, 'count'), 'utf8').catch(() => '');
    /** Waits until so many attempts have begun to run. */
    const begun = async (name: string, attempts: number): Promise<void> => {
      for (let tries = 0; tries < 400; tries += 1) {
        const counts = await Promise.all((await folders(name)).map(count));
        if (counts.length === attempts && counts.every((text) => text !== '')) return;
        await delay(200);
      }
      throw new Error(`${name} does not begin`);
    };
    const end = async (name: string): Promise<void> => {
      for (const folder of await folders(name)) await writeFile(join(folder, 'go'), '');
    };
    const steady = `s${process.pid}`;
    const lost = `l${process.pid}`;
    const dropped = `d${process.pid}`;
    for (const [name, retry] of [
      [steady, '2'],
      [lost, '1'],
      [dropped, '0'],
    ] as const)
      await submit(name, retry);
    for (const name of [steady, lost, dropped]) await begun(name, 1);

    for (const part of ['slurmd', 'slurmctld']) {
      await labPart('stop', part);
      await labPart('start', part);
    }
    await end(steady);
    const went = await apppot(['jobs', 'wait', steady]);
    t.is(went.code, 0, `said: ${went.stderr}`);
    t.deepEqual(await Promise.all((await folders(steady)).map(count)), ['ran\n']);

    await setNodeTimeout(who, 2);
    await labPart('stop', 'slurmd');
    const waiting = apppot(['jobs', 'wait', lost]);
    const gone = await apppot(['jobs', 'wait', dropped, '--json']);
    t.is(gone.code, 1);
    t.regex(gone.stdout, /"reason": ?"node-fail"/);
    t.regex(gone.stdout, /Its node failed/);
    await setNodeTimeout(who, 300);
    await labPart('start', 'slurmd');
    await begun(lost, 2);
    await end(lost);
    const again = await waiting;
    t.is(again.code, 0, `said: ${again.stderr}`);
    t.regex(again.stderr, /sending 1 lost task/);
    t.deepEqual(await Promise.all((await folders(lost)).map(count)), ['ran\n', 'ran\n']);
    t.is(await given(who, dropped), 1);
  },
);
