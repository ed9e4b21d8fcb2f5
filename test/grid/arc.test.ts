import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import type { ApppotError } from '../../src/errors.ts';
import { makeSubmission, newSubmissionId } from '../../src/job/sandbox.ts';
import type { JobDescription, RemoteJob, Submission } from '../../src/job/types.ts';
import { silent } from '../../src/progress.ts';
import { arcBackend, PLAIN, scriptSubmission, signal, submitAll, untilEnded } from '../helpers/arc.ts';
import { gridLab, type GridLab } from '../helpers/grid.ts';
import { guestParts, newFolder, type GuestParts } from '../helpers/guest.ts';
import { smallImage } from '../helpers/small-image.ts';

const execute = promisify(execFile);

test('jobs go to a computing element in bulk, with inputs, and results and codes come back', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const arc = arcBackend(t, lab);
  const script =
    'mkdir "result d"; cat "data/input file.txt" >"result d/ü.txt"; echo "task $1" >result.txt; exit "$1"';
  const submission = scriptSubmission(script, 3);
  const jobs = await submitAll(arc, submission);
  t.is(jobs.length, 3);
  const found = await arc.find(submission.id, { signal });
  t.deepEqual(
    [...found].sort(([a], [b]) => a - b),
    [...jobs.entries()],
    'a lost answer can be repaired',
  );
  const states = await untilEnded(arc, jobs);
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
  const arc = arcBackend(t, lab);
  const [job] = await submitAll(
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
  t.is((await untilEnded(arc, [job]))[0]?.state, 'cancelled');
});

test('what does not let one in, and what cannot be reached, is told apart', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const folder = await newFolder(t);
  const empty = path.join(folder, 'empty');
  await mkdir(empty);
  await t.throwsAsync(arcBackend(t, lab, { caDir: empty }).list({ signal }), { code: 'credentials' });
  await t.throwsAsync(arcBackend(t, lab, { certificate: path.join(folder, 'none') }).list({ signal }), {
    code: 'credentials',
  });
  const stranger = path.join(folder, 'stranger.pem');
  await execute('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', stranger, '-out', `${stranger}.crt`],
    ...['-subj', '/CN=nobody', '-days', '1'],
  ]);
  // A-REX hangs up on a stranger without a word.
  const error = await t.throwsAsync<ApppotError>(
    arcBackend(t, lab, { certificate: `${stranger}.crt`, key: stranger }).list({ signal }),
  );
  t.regex(String(error.hint), /certificate/);
  await t.throwsAsync(arcBackend(t, lab, { endpoint: 'https://localhost:1/arex' }).list({ signal }), {
    code: 'transport',
  });
  const lines = await arcBackend(t, lab, { queue: 'nosuch' }).check({ signal });
  t.deepEqual(
    lines.map(({ title, ok }) => [title, ok]),
    [
      ['credentials', true],
      ['site', true],
      ['access', true],
      ['queue', false],
    ],
  );
  t.true((await arcBackend(t, lab).check({ signal })).every(({ ok }) => ok));
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
  const arc = arcBackend(t, lab, { runtime: runtimeUrl });
  const jobs = await submitAll(arc, submission);
  const states = await untilEnded(arc, jobs);
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
