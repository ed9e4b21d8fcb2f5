/** ARC, when things go wrong: nothing is lost, nothing runs twice. Runs by itself, since it stops A-REX. */
import test, { type ExecutionContext } from 'ava';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { arcTarget, gridClient, sshConfig, type GridClient, type ListedJob } from '../helpers/grid-client.ts';
import { labPart } from '../helpers/grid.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { startProxy } from '../helpers/sshd.ts';

let client: GridClient | undefined;
const SMALL = ['-m', '128', '-t', '5'];

test.before(async (t) => {
  client = await gridClient(t);
});
test.after.always(async () => {
  await client?.remove();
});

/** A serial test with the scientist. */
function withClient(title: string, body: (t: ExecutionContext, one: GridClient) => Promise<void>): void {
  test.serial(title, async (t) => {
    if (requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') && client !== undefined)
      await body(t, client);
  });
}

async function succeeds(t: ExecutionContext, one: GridClient, words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await one.apppot(words);
  t.is(code, 0, `said: ${stderr}`);
  return stdout;
}

/** States of Slurm's jobs with this name. */
async function atSlurm({ lab }: GridClient, name: string): Promise<readonly string[]> {
  const { stdout } = await run('scontrol', ['-o', 'show', 'jobs'], { env: { SLURM_CONF: lab.slurm.conf } });
  const lines = stdout.split('\n').filter((line) => line.includes(` JobName=${name}`));
  return lines.map((line) => / JobState=(\S+)/.exec(line)?.[1] ?? '');
}

/** Waits for something that has to become true. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 120_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`still not so: ${what}`);
    await delay(300);
  }
}

withClient(
  'jobs run on while A-REX is away, are not failed by it, and end known, once, with their results',
  async (t, one) => {
    await one.configure(arcTarget(one));
    const name = `away${process.pid}`;
    const script = 'echo ran >>ran; sleep 5; echo "end of $SLURM_ARRAY_TASK_ID"';
    await succeeds(t, one, [
      ...['submit', '--to', 'ce', '-J', name, ...SMALL, '-a', '1-3'],
      ...['--stage-out', 'ran', '--', 'sh', '-c', script],
    ]);
    await until(
      'two run',
      async () => (await atSlurm(one, name)).filter((state) => state === 'RUNNING').length >= 2,
    );
    await labPart('stop', 'arex');
    try {
      const { code, stdout, stderr } = await one.apppot(['jobs', 'list', name, '--json']);
      t.is(code, 0);
      t.regex(stderr, /Cannot reach localhost/);
      const [job] = JSON.parse(stdout) as ListedJob[];
      t.is(job?.tasks.length, 3);
      for (const { state } of job?.tasks ?? [])
        t.false(['failed', 'cancelled', 'done'].includes(state), stdout);
      // What is there to be fetched is not known either, and nothing is taken for lost.
      t.is((await one.apppot(['jobs', 'fetch', name])).code, 1);
      // They end while nobody is there to see it.
      await until('all have ended', async () => {
        const states = await atSlurm(one, name);
        return states.length > 0 && states.every((state) => state === 'COMPLETED');
      });
    } finally {
      await labPart('start', 'arex');
    }
    await succeeds(t, one, ['jobs', 'wait', name]);
    await succeeds(t, one, ['jobs', 'fetch', name, '--into', name]);
    for (const index of ['1', '2', '3']) {
      t.is(await readFile(join(one.folder, name, index, 'ran'), 'utf8'), 'ran\n');
      t.is(await readFile(join(one.folder, name, index, 'stdout.txt'), 'utf8'), `end of ${index}\n`);
    }
    t.is((await atSlurm(one, name)).length, 3);
  },
);

withClient(
  'an upload that is cut again and again goes on where it was, and the job runs once',
  async (t, one) => {
    const proxy = await startProxy(Number(new URL(one.lab.arc.endpoint).port));
    await one.configure(arcTarget(one, { endpoint: `https://localhost:${proxy.port}/arex` }));
    await writeFile(join(one.folder, 'upload.bin'), Buffer.alloc(6_000_000, 'x'));
    const name = `cut${process.pid}`;
    // Whole, it would not come through in any number of attempts.
    proxy.cutAfter(2_500_000, 100);
    await succeeds(t, one, [
      ...[
        'submit',
        '--to',
        'ce',
        '-J',
        name,
        ...SMALL,
        '--stage-in',
        'upload.bin',
        '--',
        'wc',
        '-c',
        'upload.bin',
      ],
    ]);
    t.true(proxy.cuts() >= 2);
    proxy.cutAfter(Infinity, 0);
    await succeeds(t, one, ['jobs', 'wait', name]);
    await succeeds(t, one, ['jobs', 'fetch', name, '--into', name]);
    t.is(await readFile(join(one.folder, name, 'stdout.txt'), 'utf8'), '6000000 upload.bin\n');
    t.is((await atSlurm(one, name)).length, 1);
    await proxy.stop();
  },
);

withClient(
  'a full disk at the site is said: inputs that it cannot take, and a job that fills it, end known',
  async (t, one) => {
    const session = one.lab.arc.sessionDir;
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=755', 'tmpfs', session]);
    try {
      await one.configure(arcTarget(one));
      await writeFile(join(one.folder, 'large.bin'), Buffer.alloc(9_000_000, 'x'));
      const [first, second] = [`full${process.pid}`, `fill${process.pid}`];
      const words = ['submit', '--to', 'ce', ...SMALL, '-J'];
      const refused = await one.apppot([...words, first, '--stage-in', 'large.bin', '--', 'true']);
      t.is(refused.code, 1);
      t.regex(refused.stderr, /Not sent: localhost:\d+ does not take large\.bin \(9000000 bytes\)/);
      t.regex(refused.stderr, /hint: Its disk for jobs may be full/);
      const { stdout } = await one.apppot(['jobs', 'list', first]);
      t.regex(stdout, /failed +staging: Not sent/);
      t.is((await atSlurm(one, first)).length, 0);
      await run('mount', ['-o', 'remount,size=9m', session]);
      const program = 'head -c 9000000 /dev/zero >out.bin';
      const filled = await one.apppot([...words, second, '--wait', '--', 'sh', '-c', program]);
      t.is(filled.code, 1);
      t.regex(filled.stdout, /failed .*the disk with the job's folder is full/);
      await succeeds(t, one, ['jobs', 'fetch', second, '--into', second]);
      const outcome = await readFile(join(one.folder, second, 'outcome.json'), 'utf8');
      t.like(JSON.parse(outcome), { origin: 'launcher', error: { code: 'no-space' } });
      t.is((await atSlurm(one, second)).length, 1);
    } finally {
      // A-REX may look into it.
      await run('umount', ['-l', session]);
    }
  },
);

/** A proxy certificate of the scientist's, by ARC's own program. */
async function makeProxy(
  { lab, person }: GridClient,
  file: string,
  ...constraints: readonly string[]
): Promise<void> {
  const from = lab.clients.root;
  const words = ['-C', join(from, 'cert.pem'), '-K', join(from, 'key.pem'), '-T', lab.arc.caDir, '-P', file];
  await run('arcproxy', [...words, ...constraints.flatMap((constraint) => ['-c', constraint])], {
    env: { HOME: from },
  });
  await run('chown', [`${person.uid}:${person.gid}`, file]);
}

withClient(
  'a proxy that expires soon is told of, one that expired makes no job fail, and a new one fetches it',
  async (t, one) => {
    const file = join(one.folder, 'proxy.pem');
    await one.configure(arcTarget(one, { proxy: file }));
    await makeProxy(one, file, 'validityPeriod=600');
    const name = `late${process.pid}`;
    const words = ['--to', 'ce', ...SMALL, '--', 'echo', 'fine'];
    const sent = await one.apppot(['submit', '-J', name, ...words]);
    t.is(sent.code, 0, `said: ${sent.stderr}`);
    t.regex(sent.stderr, /the proxy in .* ends in \d+ minutes; jobs run on without it/);
    const at = (hours: number): string =>
      new Date(Date.now() + hours * 3_600_000).toISOString().replace(/\.\d+/, '');
    await makeProxy(one, file, `validityStart=${at(-2)}`, `validityEnd=${at(-1)}`);
    const { code, stdout, stderr } = await one.apppot(['jobs', 'list', name, '--json']);
    t.is(code, 0);
    t.regex(stderr, /The proxy in .* has expired/);
    const [job] = JSON.parse(stdout) as ListedJob[];
    t.false(['failed', 'cancelled', 'done'].includes(job?.state ?? 'failed'));
    const waited = await one.apppot(['jobs', 'wait', name]);
    t.is(waited.code, 1);
    t.regex(waited.stderr, /has expired/);
    const refused = await one.apppot(['submit', '-J', `never${process.pid}`, ...words]);
    t.is(refused.code, 1);
    t.regex(refused.stderr, /has expired[\s\S]*hint: .*arcproxy/);
    await makeProxy(one, file, 'validityPeriod=12h');
    await succeeds(t, one, ['jobs', 'wait', name]);
    await succeeds(t, one, ['jobs', 'fetch', name, '--into', name]);
    t.is(await readFile(join(one.folder, name, 'stdout.txt'), 'utf8'), 'fine\n');
    t.is((await atSlurm(one, name)).length, 1);
    t.is((await atSlurm(one, `never${process.pid}`)).length, 0);
  },
);

/** Variables for a clock of one's own; $LIB is ld.so's (ld.so(8)). */
function clock(offset: string): Readonly<Record<string, string>> {
  const library = '/usr/$LIB/faketime/libfaketimeMT.so.1';
  return { LD_PRELOAD: library, FAKETIME: offset, DONT_FAKE_MONOTONIC: '1' };
}

withClient(
  'a clock that is an hour off changes neither states nor times, and loses nothing',
  async (t, one) => {
    if (!requireOrSkip(t, existsSync('/usr/bin/faketime'), 'faketime is not installed')) return;
    const ssh = await sshConfig(one, one.lab.ssh.port);
    await one.configure(
      `${arcTarget(one)}[target vega]\ntype = slurm\nssh = lab\nssh_config = ${ssh}\nimage = site:${one.image}\nruntime = ${one.runtime}\npoll = 1\n`,
    );
    // A real certificate is older than an hour, the lab's is not.
    const jobWith = async (target: string, skew: string): Promise<void> => {
      const env = clock(skew);
      const call = async (...words: readonly string[]): Promise<string> => {
        const { code, stdout, stderr } = await one.apppot(words, { env });
        t.is(code, 0, `${target} ${skew}: ${stderr}`);
        return stdout;
      };
      // A-REX cuts names to 15 letters and digits.
      const name = `s${process.pid}${target}${skew.startsWith('-') ? 'm' : 'p'}`;
      const before = Date.now();
      const sleep = target === 'vega' ? '4' : '0';
      await call('submit', '--to', target, '-J', name, ...SMALL, '--', 'sh', '-c', `sleep ${sleep}; echo ok`);
      if (target === 'vega') {
        await until('it runs', async () => (await atSlurm(one, name)).includes('RUNNING'));
        const table = await call('jobs', 'list', name);
        t.regex(table, /running +0?0:00:\d\d|done/, table);
      }
      const [job] = JSON.parse(await call('jobs', 'wait', name, '--json')) as {
        state: string;
        tasks: { startedAt: string; endedAt: string }[];
      }[];
      t.is(job?.state, 'done');
      const { startedAt = '', endedAt = '' } = job?.tasks[0] ?? {};
      t.true(Date.parse(startedAt) >= before - 2000 && Date.parse(startedAt) <= Date.now() + 2000, startedAt);
      t.true(
        Date.parse(endedAt) >= Date.parse(startedAt) && Date.parse(endedAt) <= Date.now() + 2000,
        endedAt,
      );
      await call('jobs', 'fetch', name, '--into', name);
      t.is(await readFile(join(one.folder, name, 'stdout.txt'), 'utf8'), 'ok\n');
      t.is((await atSlurm(one, name)).length, 1);
    };
    await Promise.all([jobWith('vega', '+1h'), jobWith('vega', '-1h'), jobWith('ce', '+1h')]);
    const wrong = await one.apppot(['targets', 'check', 'ce'], { env: clock('-10y') });
    t.is(wrong.code, 1);
    t.regex(wrong.stdout + wrong.stderr, /not yet valid[\s\S]*clock says/);
  },
);
