import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import type { ApppotError } from '../../src/errors.ts';
import { ArcBackend } from '../../src/grid/arc/backend.ts';
import type { ArcSettings } from '../../src/grid/arc/settings.ts';
import { makeSubmission, newSubmissionId } from '../../src/job/sandbox.ts';
import type { JobDescription, JobStatus, RemoteJob, Submission } from '../../src/job/types.ts';
import { silent } from '../../src/progress.ts';
import { gridLab, type GridLab } from '../helpers/grid.ts';
import { guestParts, newFolder, type GuestParts } from '../helpers/guest.ts';
import { smallImage } from '../helpers/small-image.ts';

const execute = promisify(execFile);
const signal = new AbortController().signal;
setMaxListeners(0, signal);

function settings(lab: GridLab, more: Partial<ArcSettings> = {}): ArcSettings {
  const client = lab.clients.root;
  return {
    name: 'lab',
    endpoint: lab.arc.endpoint,
    queue: lab.arc.queue,
    certificate: path.join(client, 'cert.pem'),
    key: path.join(client, 'key.pem'),
    caDir: lab.arc.caDir,
    ...more,
  };
}

/** A backend that is closed with the test. */
function backend(t: ExecutionContext, lab: GridLab, more: Partial<ArcSettings> = {}): ArcBackend {
  const arc = new ArcBackend(settings(lab, more));
  t.teardown(() => arc.close());
  return arc;
}

const PLAIN: JobDescription = {
  name: 'a job & <its> "name"',
  program: ['true'],
  env: {},
  image: 'site:/none',
  changes: [],
  stageIn: [],
  stageOut: ['result*'],
  stdout: 'stdout.txt',
  stderr: 'stderr.txt',
  cpus: 1,
  memory: 512,
  time: 300,
  retry: 0,
};

/** A submission whose script is a shell script of the test's own: no guest, so that what is tested is the way there. */
function scriptSubmission(script: string, count = 1): Submission {
  return {
    id: newSubmissionId(),
    description: PLAIN,
    tasks: Array.from({ length: count }, (_, index) => ({ index, program: ['true'], env: {} })),
    files: [{ name: 'apppot-parts/apppot-job', content: Buffer.from(script) }],
    taskFiles: Array.from({ length: count }, (_, index) => [
      { name: 'data/input file.txt', content: Buffer.from(`input ${index}\n`) },
    ]),
    script: 'apppot-parts/apppot-job',
    after: [],
  };
}

async function submit(arc: ArcBackend, submission: Submission): Promise<readonly RemoteJob[]> {
  const accepted: number[] = [];
  const results = await arc.submit(submission, {
    signal,
    progress: silent,
    accepted: (position) => {
      accepted.push(position);
      return Promise.resolve();
    },
  });
  return results.map((result) => {
    if ('error' in result) throw result.error;
    return result.value;
  });
}

/** Asks until all jobs have ended. */
async function ends(arc: ArcBackend, jobs: readonly RemoteJob[], limit = 120): Promise<readonly JobStatus[]> {
  for (let second = 0; second < limit; second++) {
    const states = (await arc.status(jobs, { signal })).map((result) => {
      if ('error' in result) throw result.error;
      return result.value;
    });
    if (states.every(({ state }) => ['done', 'failed', 'cancelled'].includes(state))) return states;
    await sleep(1000);
  }
  throw new Error(`jobs have not ended after ${limit} s`);
}

test('jobs go to a computing element in bulk, with inputs, and results and codes come back', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const arc = backend(t, lab);
  const script =
    'mkdir "result d"; cat "data/input file.txt" >"result d/ü.txt"; echo "task $1" >result.txt; exit "$1"';
  const submission = scriptSubmission(script, 3);
  const jobs = await submit(arc, submission);
  t.is(jobs.length, 3);
  const found = await arc.find(submission.id, { signal });
  t.deepEqual(
    [...found].sort(([a], [b]) => a - b),
    [...jobs.entries()],
    'a lost answer can be repaired',
  );
  const states = await ends(arc, jobs);
  t.deepEqual(
    states.map(({ state, exitCode }) => [state, exitCode]),
    [
      ['done', 0],
      ['failed', 1],
      ['failed', 2],
    ],
  );
  const folder = await newFolder(t);
  const fetched = await arc.fetch(jobs[2] as RemoteJob, folder, {
    signal,
    progress: silent,
    outputs: ['result*'],
  });
  t.deepEqual([...fetched].sort(), ['result d/ü.txt', 'result.txt']);
  t.is(await readFile(path.join(folder, 'result d', 'ü.txt'), 'utf8'), 'input 2\n');
  t.deepEqual(
    (await arc.clean(jobs, { signal })).map((result) => 'value' in result),
    [true, true, true],
  );
  t.true(
    (await arc.clean(jobs, { signal })).every((result) => 'value' in result),
    'twice is once',
  );
});

test('a running job shows its output so far, and is cancelled', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const arc = backend(t, lab);
  const [job] = await submit(
    arc,
    scriptSubmission('echo first >stdout.txt; sleep 300; echo second >>stdout.txt'),
  );
  t.assert(job);
  if (job === undefined) return;
  const names = { stdout: 'stdout.txt', stderr: 'stderr.txt', signal };
  let text: Buffer | undefined;
  for (let tries = 0; tries < 60 && (text?.length ?? 0) === 0; tries++) {
    text = await arc.read(job, 'stdout', { ...names, offset: 0 });
    await sleep(500);
  }
  t.is(text?.toString(), 'first\n');
  t.is((await arc.read(job, 'stdout', { ...names, offset: 6 }))?.length, 0);
  t.true((await arc.cancel([job], { signal })).every((result) => 'value' in result));
  t.is((await ends(arc, [job]))[0]?.state, 'cancelled');
});

test('what does not let one in, and what cannot be reached, is told apart', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const folder = await newFolder(t);
  const empty = path.join(folder, 'empty');
  await mkdir(empty);
  await t.throwsAsync(backend(t, lab, { caDir: empty }).list({ signal }), { code: 'credentials' });
  await t.throwsAsync(backend(t, lab, { certificate: path.join(folder, 'none') }).list({ signal }), {
    code: 'credentials',
  });
  const stranger = path.join(folder, 'stranger.pem');
  await execute('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', stranger, '-out', `${stranger}.crt`],
    ...['-subj', '/CN=nobody', '-days', '1'],
  ]);
  // A-REX hangs up on a stranger without a word.
  const error = await t.throwsAsync<ApppotError>(
    backend(t, lab, { certificate: `${stranger}.crt`, key: stranger }).list({ signal }),
  );
  t.regex(String(error.hint), /certificate/);
  await t.throwsAsync(backend(t, lab, { endpoint: 'https://localhost:1/arex' }).list({ signal }), {
    code: 'transport',
  });
  const lines = await backend(t, lab, { queue: 'nosuch' }).check({ signal });
  t.deepEqual(
    lines.map(({ title, ok }) => [title, ok]),
    [
      ['credentials', true],
      ['site', true],
      ['access', true],
      ['queue', false],
    ],
  );
  t.true((await backend(t, lab).check({ signal })).every(({ ok }) => ok));
});

/** Parts and image of a real job, with the large files in web space under the names that hold their digests. */
async function realSubmission(
  t: ExecutionContext,
  lab: GridLab,
  parts: GuestParts,
  description: Partial<JobDescription>,
  count: number,
): Promise<{ submission: Submission; runtimeUrl: string }> {
  const runtimeUrl = `${lab.web.url}/${randomBytes(4).toString('hex')}`;
  const stage = async (file: string): Promise<string> => {
    const url = `${runtimeUrl}/${path.basename(file)}`;
    const target = path.join(lab.web.root, new URL(url).pathname);
    await mkdir(path.dirname(target), { recursive: true });
    await execute('cp', ['--sparse=always', file, target]);
    return url;
  };
  const image = await stage(await smallImage());
  const runtime = ['linux', 'slirp', 'apppot-start'].map((name) => path.join(parts.runtime, name));
  for (const file of runtime) await stage(file);
  const input = path.join(await newFolder(t), 'in put.txt');
  await writeFile(input, '41\n');
  const whole: JobDescription = {
    ...PLAIN,
    image,
    stageIn: [{ source: input, name: 'in put.txt' }],
    ...description,
  };
  const tasks = Array.from({ length: count }, (_, index) => ({
    task: { index, program: whole.program, env: {} },
    inputs: [],
  }));
  const submission = makeSubmission(
    newSubmissionId(),
    whole,
    tasks,
    { script: packageFile('image/host/apppot-job'), runtime, batch: true, provenance: { base: 'test' } },
    { after: [] },
  );
  return { submission, runtimeUrl };
}

test('real guests run on the grid; the site fetches image and runtime once for all of them', async (t) => {
  const lab = gridLab(t);
  const parts = guestParts(t);
  if (lab === undefined || parts === undefined) return;
  const program =
    'n=$(cat "in put.txt"); echo $((n + SLURM_ARRAY_TASK_ID)) >result.txt; id -un; uname -n >&2; exit 3';
  const { submission, runtimeUrl } = await realSubmission(
    t,
    lab,
    parts,
    { program: ['sh', '-c', program] },
    3,
  );
  const arc = backend(t, lab, { runtime: runtimeUrl });
  const jobs = await submit(arc, submission);
  const states = await ends(arc, jobs);
  t.deepEqual(
    states.map(({ state, exitCode }) => [state, exitCode]),
    Array.from({ length: 3 }, () => ['failed', 3]),
  );
  for (const [index, job] of jobs.entries()) {
    const folder = await newFolder(t);
    const outputs = ['result.txt', 'stdout.txt', 'stderr.txt'];
    const fetched = await arc.fetch(job, folder, { signal, progress: silent, outputs });
    t.deepEqual([...fetched].sort(), ['outcome.json', 'result.txt', 'stderr.txt', 'stdout.txt']);
    t.is(await readFile(path.join(folder, 'result.txt'), 'utf8'), `${41 + index}\n`);
    t.is(await readFile(path.join(folder, 'stdout.txt'), 'utf8'), 'user\n');
  }
  const requests = await readFile(lab.web.log, 'utf8');
  const image = submission.files.find(({ name }) => name === 'apppot-parts/apppot.img');
  const url = image !== undefined && 'url' in image ? image.url : '';
  t.is(requests.split('\n').filter((line) => line === `GET ${url} -`).length, 1);
});
