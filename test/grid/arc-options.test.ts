/** Every option of submit at once, with strange values, to ARC: by ourselves, and by arcsub with what a dry run printed. */
import test, { type ExecutionContext } from 'ava';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { arcTarget, gridClient, type GridClient } from '../helpers/grid-client.ts';
import { newFolder } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

const STRANGE = `q'u"o"te $(id) \`id\` & <b> \\ ; * {x} ü`;
/** Writes down all that an option promises. */
const PROGRAM = [
  'cat; cat "renamed file" "from web"; printf "%s|" "$STRANGE" "$EMPTY" "$SLURM_ARRAY_TASK_ID" "$OMP_NUM_THREADS" "$@" >out.1',
  'nproc >out.2; cat tables/one >out.3; echo no >other; df -P /scratch >/dev/null && echo scratch >>out.2; echo err >&2',
].join('\n');

let client: GridClient | undefined;
test.before(async (t) => {
  client = await gridClient(t);
});
test.after.always(async () => {
  await client?.remove();
});

async function optionsOf(one: GridClient): Promise<readonly string[]> {
  const { folder, lab } = one;
  await mkdir(join(folder, 'tables'), { recursive: true });
  await writeFile(join(folder, 'tables', 'one'), 'table\n');
  await writeFile(join(folder, 'my input'), 'local\n');
  await writeFile(join(folder, 'stdin file'), 'standard input\n');
  const name = `${randomBytes(6).toString('hex')}.txt`;
  await writeFile(join(lab.web.root, name), 'web\n');
  return [
    ...['submit', '--to', 'ce', '--image', `site:${one.image}`, '-J', `all ${process.pid} & <b>`],
    ...[
      '-c',
      '2',
      '-m',
      '200',
      '-t',
      '6',
      '--scratch',
      '64',
      '-a',
      '3-4%1',
      '--retry',
      '2',
      '-p',
      lab.arc.queue,
    ],
    ...['--stage-in', 'my input=renamed file', '--stage-in', `from web=${lab.web.url}/${name}`],
    ...[
      '--stage-in',
      'tables/',
      '--stage-out',
      'out*',
      '-i',
      'stdin file',
      '-o',
      'my out',
      '-e',
      'logs/my err',
    ],
    ...['--env', `STRANGE=${STRANGE}`, '--env', 'EMPTY='],
  ];
}

async function check(t: ExecutionContext, folder: string): Promise<void> {
  const text = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');
  t.is(await text('my out'), 'standard input\nlocal\nweb\n');
  t.is(await text('out.1'), `${STRANGE}||3|2|${STRANGE}|`);
  t.is(await text('out.2'), '2\nscratch\n');
  t.is(await text('out.3'), 'table\n');
  t.is(await text(join('logs', 'my err')), 'err\n');
  const { exitCode } = JSON.parse(await text('outcome.json')) as { exitCode: number };
  t.is(exitCode, 0);
}

test('all options at once reach the job, from here and by arcsub with the xRSL of a dry run', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const one = client;
  const { lab, folder } = one;
  await one.configure(arcTarget(one));
  const words = await optionsOf(one);
  const program = ['--', 'sh', '-c', PROGRAM, 'sh', STRANGE];
  const dry = await one.apppot([...words, '--dry-run', '--format', 'xrsl', '--json', ...program]);
  t.is(dry.code, 0, `said: ${dry.stderr}`);
  const { files } = JSON.parse(dry.stdout) as { files: Record<string, string> };
  // What arcsub sends are the files that the dry run printed, in a folder of its own, and ours by their paths.
  const home = await newFolder(t);
  for (const [name, content] of Object.entries(files)) {
    const file = join(home, name.replace(/ \(task 3\)$/, ''));
    if (/ \(task 4\)$/.test(name)) continue;
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }
  const from = lab.clients.root;
  const env = {
    HOME: home,
    X509_USER_CERT: join(from, 'cert.pem'),
    X509_USER_KEY: join(from, 'key.pem'),
    X509_USER_PROXY: join(from, 'proxy.pem'),
    X509_CERT_DIR: lab.arc.caDir,
  };
  const arc = async (...call: readonly string[]): Promise<string> =>
    (await run(call[0] ?? '', call.slice(1), { cwd: home, env, okCodes: 'any' })).stdout;
  const printed = await arc('arcsub', '-T', 'arcrest', '-C', lab.arc.endpoint, '-Q', 'NONE', 'job-3.xrsl');
  const url = /jobid: (\S+)/.exec(printed)?.[1] ?? '';
  t.not(url, '', `arcsub said: ${printed}`);
  const ours = await one.apppot([...words, '--wait', ...program]);
  t.is(ours.code, 0, `said: ${ours.stderr}${ours.stdout}`);
  t.regex(ours.stderr, /ARC has no limit of jobs at once/);
  t.is((await one.apppot(['jobs', 'fetch', '--all', '--into', 'ours'])).code, 0);
  await check(t, join(folder, 'ours', '3'));
  t.deepEqual((await readdir(join(folder, 'ours', '3'))).sort(), [
    ...['logs', 'my out', 'out.1', 'out.2', 'out.3', 'outcome.json'],
  ]);
  const end = Date.now() + 90_000;
  while (!/State: Finished/.test(await arc('arcstat', url))) {
    if (Date.now() > end) throw new Error(`arcsub's job has not finished: ${await arc('arcstat', url)}`);
    await delay(1000);
  }
  await arc('arcget', '-D', join(home, 'got'), url);
  const [got = ''] = await readdir(join(home, 'got'));
  await check(t, join(home, 'got', got));
});

test('what ARC does not have is said before anything is sent', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const desk = await client.desk('another desk');
  await desk.configure(arcTarget(desk));
  const words = ['submit', '--to', 'ce', '-m', '128', '-t', '5'];
  const account = await desk.apppot([...words, '-A', 'physics', '--', 'true']);
  t.is(account.code, 1);
  t.regex(account.stderr, /ARC knows no accounts[\s\S]*hint: Leave out --account/);
  const { stdout } = await desk.apppot([...words, '-J', 'first', '--json', '--', 'sleep', '20']);
  const { id } = JSON.parse(stdout) as { id: string };
  const after = await desk.apppot([...words, '-d', `afterok:${id}`, '--', 'true']);
  t.is(after.code, 1);
  t.regex(after.stderr, /ARC knows no jobs that wait for others[\s\S]*hint: Wait for the first/);
  t.is((await desk.apppot(['jobs', 'cancel', id])).code, 0);
});

test('a job that arcsub submitted is adopted by its address: followed, read, fetched, and never sent again', async (t) => {
  if (!requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') || client === undefined) return;
  const one = client;
  const desk = await one.desk('a third desk');
  await desk.configure(arcTarget(desk));
  const home = await newFolder(t);
  const names = ['cert.pem', 'key.pem', 'proxy.pem'];
  // arcsub wants them to be its caller's.
  await run('install', [
    ...['-m', '600', '-t', home],
    ...names.map((name) => join(one.lab.clients.apptest, name)),
  ]);
  const [cert = '', key = '', proxy = ''] = names.map((name) => join(home, name));
  const user = { X509_USER_CERT: cert, X509_USER_KEY: key, X509_USER_PROXY: proxy };
  const env = { HOME: home, ...user, X509_CERT_DIR: one.lab.arc.caDir };
  await writeFile(
    join(home, 'foreign.xrsl'),
    '&(executable="/bin/sh")(arguments="-c" "echo said; mkdir sub; echo found >sub/result")' +
      '(stdout="said.txt")(stderr="err.txt")(outputFiles=("/" ""))(walltime="5")',
  );
  const { stdout } = await run(
    'arcsub',
    ['-T', 'arcrest', '-C', one.lab.arc.endpoint, '-Q', 'NONE', 'foreign.xrsl'],
    { cwd: home, env },
  );
  const url = /jobid: (\S+)/.exec(stdout)?.[1] ?? '';
  const seen = await desk.apppot(['jobs', 'reconcile', '--target', 'ce']);
  t.true(seen.stdout.includes(`${url} at ce is not in the journal`), `said: ${seen.stdout}`);
  const words = ['jobs', 'adopt', '--target', 'ce', '-J', 'foreign', '-o', 'said.txt', '-e', 'err.txt', url];
  t.is((await desk.apppot(words)).code, 0);
  const again = await desk.apppot(words);
  t.is(again.code, 1);
  t.regex(again.stderr, /lists no job .* that is not in the journal[\s\S]*hint: /);
  t.is((await desk.apppot(['jobs', 'wait', 'foreign'])).code, 0);
  t.is((await desk.apppot(['jobs', 'logs', 'foreign'])).stdout, 'said\n');
  t.is((await desk.apppot(['jobs', 'fetch', 'foreign', '--into', 'got'])).code, 0);
  t.is(await readFile(join(desk.folder, 'got', 'sub', 'result'), 'utf8'), 'found\n');
  const resubmit = await desk.apppot(['jobs', 'resubmit', 'foreign', '--state', 'done']);
  t.is(resubmit.code, 1);
  t.regex(resubmit.stderr, /was adopted[\s\S]*hint: /);
  t.is((await desk.apppot(['jobs', 'clean', 'foreign'])).code, 0);
  t.is((await desk.apppot(['jobs', 'list', '--json'])).stdout.trim(), '[]');
});
