/**
 * The whole way of a scientist without privileges: build an image, install a package in a shell, keep what changed, send it
 * with a sweep to ARC, to Slurm through ssh, and to this machine, and bring the results home. All of it real.
 */
import test, { type ExecutionContext } from 'ava';
import { createHash } from 'node:crypto';
import { chmod, readFile, readdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from '../../src/process/run.ts';
import { fixture } from '../helpers/fixture.ts';
import {
  gridClient,
  seedImageCache,
  sshConfig,
  type GridClient,
  type ListedJob,
} from '../helpers/grid-client.ts';
import { requireOrSkip } from '../helpers/require.ts';

const MINUTES = 60_000;
const IMAGE = 'my image.img';
const CHANGES = 'bc.changes.tar.zst';
const DATA = [40, 50, 60];

let client: GridClient | undefined;
/** What one step leaves to the next. */
const made: { base?: string; changes?: string; targets: string } = { targets: '' };

test.before(async (t) => {
  client = await gridClient(t);
  if (client !== undefined) await seedImageCache(client.person);
});
test.after.always(async () => {
  await client?.remove();
});

/** The runtime that would come from "apppot runtime build", which takes minutes. */
function runtimeOf({ runtime }: GridClient): Readonly<Record<string, string>> {
  return { APPPOT_RUNTIME: runtime };
}

/** Runs a command of the scientist that has to succeed. */
async function does(t: ExecutionContext, ...args: readonly string[]): Promise<string> {
  const result = await client?.apppot(args, { env: runtimeOf(client) });
  const said = `${result?.stdout ?? ''}\n${result?.stderr ?? ''}`;
  t.is(result?.code, 0, `apppot ${args.join(' ')}: ${said}`);
  return result?.stdout ?? '';
}

test.serial('a plain user builds an image', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab')) return;
  t.timeout(10 * MINUTES);
  const words = ['build-image', '--packages', 'minimal', '--size', '400M', '-o', IMAGE, '--json'];
  made.base = (JSON.parse(await does(t, ...words)) as { baseId: string }).baseId;
  t.regex(made.base, /^[0-9a-f]{64}$/);
});

test.serial('in a shell they install a package that the image does not have', async (t) => {
  const pty = await fixture(t, 'pty');
  if (client === undefined || pty === undefined || made.base === undefined) return;
  t.timeout(10 * MINUTES);
  await chmod(dirname(pty), 0o755);
  const missing = await client.apppot(['run', IMAGE, '--', 'bc', '--version'], { env: runtimeOf(client) });
  t.is(missing.code, 127);
  const type = (text: string) => ['--send', `${text}\\r`];
  const steps = [
    ...['--timeout', '500', '--log', join(client.person.home, 'terminal'), '--expect', 'job$ '],
    ...type(
      'sudo apt-get update && sudo apt-get install --no-install-recommends -y bc && echo sum-$((40+2))',
    ),
    ...['--expect', 'sum-42', '--expect', 'job$ '],
    ...type('exit'),
  ];
  const shell = await client.apppot(['shell', '--session', 'fitting', IMAGE], {
    env: runtimeOf(client),
    wrap: [pty, ...steps, '--'],
  });
  t.is(shell.code, 0, `said: ${shell.stderr}`);
});

test.serial('what changed fits into a file', async (t) => {
  if (client === undefined || made.base === undefined) return;
  t.timeout(5 * MINUTES);
  await does(t, 'snap', 'changes', 'fitting', '-o', CHANGES);
  t.regex(await does(t, 'snap', 'inspect', CHANGES), /^A \S+ \S+ \d+ usr\/bin\/bc$/m);
  const content = await readFile(join(client.folder, CHANGES));
  made.changes = createHash('sha256').update(content).digest('hex');
});

/** A program that needs the package, its data, and a sweep of so many rows. */
async function makeSweep({ folder, person }: GridClient, rows: number): Promise<void> {
  const program = `#!/bin/sh
{ echo "sum = $2"; while read -r x; do echo "sum += $1 ^ $x"; done <"my data.txt"; echo sum; } | bc >"result $3.txt"
echo "$1 $2"
`;
  await writeFile(join(folder, 'fit'), program, { mode: 0o755 });
  await writeFile(join(folder, 'my data.txt'), `${DATA.join('\n')}\n`);
  const lines = Array.from({ length: rows }, (_, at) => `${at + 2},${at * 1000}`);
  await writeFile(join(folder, 'points.csv'), `mass,width\n${lines.join('\n')}\n`);
  await run('chown', ['-R', `${person.uid}:${person.gid}`, folder]);
}

/** Submits a sweep, waits, fetches; checks what came home. */
async function sweeps(
  t: ExecutionContext,
  scientist: GridClient,
  target: string,
  rows: number,
  options: readonly string[],
): Promise<ListedJob> {
  await makeSweep(scientist, rows);
  const name = `sweep-${target}`;
  const files = ['--changes', CHANGES, '--stage-in', 'my data.txt', '--stage-out', 'result *'];
  const limits = ['-m', '256', '-t', '10', '-J', name];
  const command = ['--', './fit', '{mass}', '{width}', 'of {mass}'];
  await does(
    t,
    ...['submit', '--to', target, ...options, ...files, ...limits, '--sweep', 'points.csv', ...command],
  );
  await does(t, 'jobs', 'wait', name);
  await does(t, 'jobs', 'fetch', name, '--into', target);
  const [job] = JSON.parse(await does(t, 'jobs', 'list', '--json', name)) as [ListedJob];
  t.is(job.tasks.length, rows);
  const results = join(scientist.folder, target);
  t.is((await readdir(results)).length, rows);
  const { kernelVersion } = JSON.parse(await readFile(join(scientist.runtime, 'manifest.json'), 'utf8')) as {
    kernelVersion: string;
  };
  for (let at = 0; at < rows; at += 1) {
    const mass = at + 2;
    const width = at * 1000;
    const folder = join(results, String(at + 1));
    t.deepEqual((await readdir(folder)).sort(), [
      'outcome.json',
      `result of ${mass}.txt`,
      'stderr.txt',
      'stdout.txt',
    ]);
    const sum = DATA.reduce((all, x) => all + BigInt(mass) ** BigInt(x), BigInt(width));
    // bc breaks lines after 69 digits.
    const result = await readFile(join(folder, `result of ${mass}.txt`), 'utf8');
    t.is(result.replace(/\\\n/g, ''), `${sum}\n`);
    t.is(await readFile(join(folder, 'stdout.txt'), 'utf8'), `${mass} ${width}\n`);
    t.is(await readFile(join(folder, 'stderr.txt'), 'utf8'), '');
    const outcome = JSON.parse(await readFile(join(folder, 'outcome.json'), 'utf8')) as Outcome;
    t.like(outcome, {
      ...{ origin: 'job', exitCode: 0, signal: null, oomKills: 0, node: hostname(), task: String(at + 1) },
      ...{ baseId: made.base, changesSha256: [made.changes], kernelVersion },
    });
    t.true(outcome.maxRssKiB > 0 && outcome.wallSeconds > 0);
    t.true(Date.parse(outcome.startedAt) <= Date.parse(outcome.endedAt));
  }
  return job;
}

interface Outcome {
  readonly maxRssKiB: number;
  readonly wallSeconds: number;
  readonly startedAt: string;
  readonly endedAt: string;
}

/** Adds a target, puts runtime and image there, and believes the lines that this prints. */
async function stages(
  t: ExecutionContext,
  { configure }: GridClient,
  name: string,
  lines: readonly string[],
) {
  const section = [`[target ${name}]`, ...lines, 'poll = 1'];
  await configure(`${made.targets}${section.join('\n')}\n`);
  const said = await does(t, 'targets', 'stage', name, '--image', IMAGE);
  const settings = said.slice(said.indexOf('For the section')).split('\n').slice(1);
  made.targets += [...section, ...settings.map((one) => one.trim()), ''].join('\n');
  await configure(made.targets);
  await does(t, 'targets', 'check', name);
  return /^image = (\S+)$/m.exec(said.replaceAll('  ', ''))?.[1] ?? '';
}

test.serial('twenty jobs on ARC, and the site fetches the image once', async (t) => {
  if (client === undefined || made.changes === undefined) return;
  t.timeout(15 * MINUTES);
  const { lab } = client;
  const credentials = lab.clients.apptest;
  const image = await stages(t, client, 'gridsite', [
    ...[
      'type = arc',
      `endpoint = ${lab.arc.endpoint}`,
      `queue = ${lab.arc.queue}`,
      `ca_dir = ${lab.arc.caDir}`,
    ],
    ...[`certificate = ${credentials}/cert.pem`, `key = ${credentials}/key.pem`],
    `base_url = ${lab.web.url}/scientist-${process.pid}`,
  ]);
  t.regex(image, /^http:\/\/localhost:\d+\/scientist-\d+\/images\/my_image-[0-9a-f]{16}\.img$/);
  const job = await sweeps(t, client, 'gridsite', 20, ['--image', image]);
  // The web server's word: A-REX names whole addresses, the client paths.
  const requests = (await readFile(lab.web.log, 'utf8')).split('\n');
  t.is(requests.filter((line) => line.startsWith(`GET ${image} `)).length, 1);
  // And that of A-REX, for each job and each of its inputs.
  const uses = await Promise.all(
    job.tasks.map(async ({ remote = '' }) => {
      const file = join(lab.arc.controlDir, `job.${remote.slice(remote.lastIndexOf('/') + 1)}.statistics`);
      const line = (await readFile(file, 'utf8')).split('\n').find((one) => one.includes(`url=${image},`));
      return /fromcache=(\w+)/.exec(line ?? '')?.[1];
    }),
  );
  t.deepEqual(uses.sort(), ['no', ...Array.from({ length: 19 }, () => 'yes')]);
});

test.serial('twenty jobs on Slurm, through ssh, as one array', async (t) => {
  if (client === undefined || made.changes === undefined) return;
  t.timeout(10 * MINUTES);
  const config = await sshConfig(client, client.lab.ssh.port);
  const image = await stages(t, client, 'cluster', [
    ...['type = slurm', 'ssh = lab', `ssh_config = ${config}`, `partition = ${client.lab.slurm.partition}`],
  ]);
  t.regex(image, /^site:\/.*\.img$/);
  const job = await sweeps(t, client, 'cluster', 20, []);
  const arrays = new Set(job.tasks.map(({ remote }) => /^(\d+)_\d+$/.exec(remote ?? '')?.[1]));
  t.is(arrays.size, 1);
  t.false(arrays.has(undefined));
});

test.serial('the same on this machine', async (t) => {
  if (client === undefined || made.changes === undefined) return;
  t.timeout(5 * MINUTES);
  await sweeps(t, client, 'local', 3, ['--image', IMAGE]);
});

test.serial('one command sends, waits and brings the results here', async (t) => {
  if (client === undefined || made.base === undefined) return;
  t.timeout(5 * MINUTES);
  const options = [
    '--image',
    IMAGE,
    '-m',
    '256',
    '-J',
    'at once',
    '--stage-out',
    'answer.txt',
    '--fetch',
    '--json',
  ];
  const script = 'echo 42 >answer.txt; echo done';
  const job = JSON.parse(await does(t, 'submit', ...options, '--', 'sh', '-c', script)) as ListedJob;
  t.is(job.tasks[0]?.state, 'done');
  const results = join(client.folder, `at_once-${job.shortId}`);
  t.deepEqual((await readdir(results)).sort(), ['answer.txt', 'outcome.json', 'stderr.txt', 'stdout.txt']);
  t.is(await readFile(join(results, 'answer.txt'), 'utf8'), '42\n');
});
