/* eslint ava/no-ignored-test-files: off -- registers tests for the files that import it */
/** The contract of src/grid/backend.ts, for every backend: registers tests that run real jobs in real guests. */
import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import type { Backend, StreamOptions } from '../../src/grid/backend.ts';
import { makeSubmission, newSubmissionId } from '../../src/job/sandbox.ts';
import type { JobDescription, JobStatus, JobTask, RemoteJob, Submission } from '../../src/job/types.ts';
import { silent } from '../../src/progress.ts';
import { guestParts, newFolder, type GuestParts } from '../helpers/guest.ts';

/** One backend under test. */
export interface Subject {
  readonly backend: Backend;
  /** Whether a batch system with a hard time limit is behind it. */
  readonly batch: boolean;
  /** What descriptions need there, such as a partition. */
  readonly extra?: Partial<JobDescription>;
}

export const signal: globalThis.AbortSignal = new AbortController().signal;
setMaxListeners(0, signal);
export const NAMES: StreamOptions = { signal, offset: 0, stdout: 'stdout.txt', stderr: 'stderr.txt' };

/** Bytes that some format on the way has a meaning for. */
export const HOSTILE = [
  "it's",
  '"quoted"',
  '$(touch /tmp/apppot-owned)`id`',
  'a\nb\r\n\tc',
  '<a href="x">&amp;</a>]]>',
  '(executable = "/bin/rm")(* comment *)',
  '%j %A \\n \\',
  '#SBATCH --wrap=x',
  '-- --help -rf *',
  '',
  ' ',
  '{x} ~ ! ; | & > /dev/null',
  'ümläut ☃ \u{1F427}',
  "'; exit 9 #",
];

/** A submission of a real program. */
export function submission(
  parts: GuestParts,
  subject: Pick<Subject, 'batch' | 'extra'>,
  tasks: readonly JobTask[],
  description: Partial<JobDescription> = {},
  more: Partial<Submission> = {},
): Submission {
  const base: JobDescription = {
    name: 'contract',
    program: tasks[0]?.program ?? ['true'],
    env: {},
    image: parts.image,
    changes: [],
    stageIn: [],
    stageOut: ['*'],
    stdout: 'stdout.txt',
    stderr: 'stderr.txt',
    cpus: 1,
    memory: 192,
    retry: 0,
    ...subject.extra,
    ...description,
  };
  const made = makeSubmission(
    newSubmissionId(),
    base,
    tasks.map((task) => ({ task, inputs: [] })),
    {
      script: packageFile('image', 'host', 'apppot-job'),
      runtime: ['linux', 'slirp', 'apppot-start'].map((name) => join(parts.runtime, name)),
      batch: subject.batch,
      provenance: {},
    },
    { after: [] },
  );
  return { ...made, ...more };
}

export function shell(script: string, ...args: readonly string[]): JobTask {
  return { program: ['sh', '-c', script, 'sh', ...args], env: {} };
}

/** Sends, and checks that every task was taken and told of. */
export async function send(
  t: ExecutionContext,
  backend: Backend,
  what: Submission,
): Promise<readonly RemoteJob[]> {
  const told = new Map<number, RemoteJob>();
  const results = await backend.submit(what, {
    signal,
    progress: silent,
    accepted: (position, job) => {
      told.set(position, job);
      return Promise.resolve();
    },
  });
  const jobs = results.flatMap((result) => {
    if ('error' in result) throw result.error;
    return [result.value];
  });
  t.deepEqual(
    [...told.entries()].sort(([one], [other]) => one - other),
    [...jobs.entries()],
  );
  return jobs;
}

export async function statuses(backend: Backend, jobs: readonly RemoteJob[]): Promise<readonly JobStatus[]> {
  return (await backend.status(jobs, { signal })).map((result) => {
    if ('error' in result) throw result.error;
    return result.value;
  });
}

/** Waits until all are in one of these states. */
export async function until(
  backend: Backend,
  jobs: readonly RemoteJob[],
  states: readonly string[] = ['done', 'failed', 'cancelled'],
  limit = 60_000,
): Promise<readonly JobStatus[]> {
  const end = Date.now() + limit;
  for (;;) {
    const found = await statuses(backend, jobs);
    if (found.every(({ state }) => states.includes(state))) return found;
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(found)}`);
    await delay(200);
  }
}

const first = (jobs: readonly RemoteJob[]): RemoteJob => {
  const [job] = jobs;
  if (job === undefined) throw new Error('no job');
  return job;
};

/**
 * Registers the tests.
 *
 * @param open makes the backend; undefined when the tests are to be skipped
 */
export function contractTests(
  title: string,
  open: (t: ExecutionContext) => Promise<Subject | undefined>,
): void {
  const withSubject = (
    name: string,
    body: (t: ExecutionContext, subject: Subject, parts: GuestParts) => Promise<void>,
  ): void => {
    test(`${title}: ${name}`, async (t) => {
      const parts = guestParts(t);
      if (parts === undefined) return;
      const subject = await open(t);
      if (subject === undefined) return;
      await body(t, subject, parts);
      await subject.backend.close();
    });
  };

  withSubject(
    'arguments, variables and file names arrive as they are, whatever they mean elsewhere',
    async (t, subject, parts) => {
      const { backend } = subject;
      const folder = await newFolder(t);
      const names = ['a b.txt', `q'"$(x)&<>.txt`, 'sub folder/ü.txt'];
      await writeFile(join(folder, 'input'), 'the input\n');
      const script =
        'for a; do printf "<%s>" "$a"; done; printf "%s" "$HOSTILE" >variable; cat "q\'\\"\\$(x)&<>.txt" - ; rm "a b.txt"; echo made >"out put.dat"';
      const what = submission(
        parts,
        subject,
        [{ ...shell(script, ...HOSTILE), env: { HOSTILE: HOSTILE.join('|') } }],
        {
          name: HOSTILE.filter((text) => !/[\n\r\t]/.test(text))
            .join(' ')
            .slice(0, 150),
          stageIn: names.map((name) => ({ source: join(folder, 'input'), name })),
          stdin: 'sub folder/ü.txt',
          stageOut: ['out put.dat', 'variable'],
        },
      );
      const job = first(await send(t, backend, what));
      t.like((await until(backend, [job]))[0], { state: 'done', exitCode: 0 });
      const target = join(folder, 'results');
      const outputs = ['out put.dat', 'variable', 'stdout.txt', 'stderr.txt'];
      const files = await backend.fetch(job, target, { signal, progress: silent, outputs });
      t.deepEqual(
        [...files].sort(),
        ['outcome.json', 'out put.dat', 'stderr.txt', 'stdout.txt', 'variable'].sort(),
      );
      t.is(
        await readFile(join(target, 'stdout.txt'), 'utf8'),
        `${HOSTILE.map((text) => `<${text}>`).join('')}the input\nthe input\n`,
      );
      t.is(await readFile(join(target, 'variable'), 'utf8'), HOSTILE.join('|'));
      t.is(
        (await backend.read(job, 'stdout', NAMES))?.toString(),
        await readFile(join(target, 'stdout.txt'), 'utf8'),
      );
      t.false(existsSync('/tmp/apppot-owned'));
    },
  );

  withSubject(
    'an array answers for every task, ends as each ended, and can be found by its identifier',
    async (t, subject, parts) => {
      const { backend } = subject;
      const tasks = [3, 5, 9].map((index) => ({
        ...shell('echo $SLURM_ARRAY_TASK_ID; exit $(($SLURM_ARRAY_TASK_ID - 3))'),
        index,
      }));
      const what = submission(parts, subject, tasks, {}, { parallel: 2 });
      const jobs = await send(t, backend, what);
      const found = await backend.find(what.id, { signal });
      t.deepEqual(
        [...found].sort(([one], [other]) => one - other).map(([, job]) => job.native),
        jobs.map(({ native }) => native),
      );
      t.is((await backend.find('apppot-ffffffffffffffff', { signal })).size, 0);
      t.deepEqual(
        (await until(backend, jobs)).map(({ state, exitCode }) => [state, exitCode]),
        [
          ['done', 0],
          ['failed', 2],
          ['failed', 6],
        ],
      );
      const folder = await newFolder(t);
      for (const [at, job] of jobs.entries()) {
        await backend.fetch(job, join(folder, String(at)), { signal, progress: silent, outputs: ['*'] });
        t.is(await readFile(join(folder, String(at), 'stdout.txt'), 'utf8'), `${[3, 5, 9][at] ?? ''}\n`);
      }
      for (let round = 0; round < 2; round += 1)
        t.deepEqual(
          await backend.clean(jobs, { signal }),
          jobs.map(() => ({ value: undefined })),
        );
    },
  );

  withSubject(
    'a running job shows its output, is cancelled, and twice is no error',
    async (t, subject, parts) => {
      const { backend } = subject;
      const jobs = await send(
        t,
        backend,
        submission(parts, subject, [shell('echo begun; echo x >partial; sleep 100')]),
      );
      await until(backend, jobs, ['running']);
      for (let tries = 0; tries < 200; tries += 1) {
        if ((await backend.read(first(jobs), 'stdout', NAMES))?.toString() === 'begun\n') break;
        await delay(100);
      }
      t.is((await backend.read(first(jobs), 'stdout', NAMES))?.toString(), 'begun\n');
      for (let round = 0; round < 2; round += 1)
        t.deepEqual(await backend.cancel(jobs, { signal }), [{ value: undefined }]);
      const [status] = await until(backend, jobs);
      t.like(status, { reason: 'cancelled' });
      t.deepEqual(await backend.cancel(jobs, { signal }), [{ value: undefined }]);
    },
  );

  withSubject(
    'results are fetched whole, again only what is missing, and no link leads out',
    async (t, subject, parts) => {
      const { backend } = subject;
      const script =
        'mkdir -p d/e; echo 1 >d/e/f; ln -s /etc/passwd link; ln -s /etc dlink; head -c 3000000 /dev/urandom >big; sha256sum <big';
      const jobs = await send(t, backend, submission(parts, subject, [shell(script)]));
      await until(backend, jobs, ['done']);
      const folder = await newFolder(t);
      const options = { signal, progress: silent, outputs: ['*'] };
      const files = await backend.fetch(first(jobs), folder, options);
      t.deepEqual([...files].sort(), ['big', 'd/e/f', 'outcome.json', 'stderr.txt', 'stdout.txt']);
      await writeFile(join(folder, 'big'), 'a part');
      t.deepEqual([...(await backend.fetch(first(jobs), folder, options))].sort(), [...files].sort());
      t.is((await readFile(join(folder, 'big'))).length, 3_000_000);
      // A link that is in the way here is not followed.
      const other = await newFolder(t);
      const outside = await newFolder(t);
      await mkdir(other, { recursive: true });
      await symlink(outside, join(other, 'd'));
      await t.throwsAsync(backend.fetch(first(jobs), other, options));
      t.deepEqual(await readdir(outside), []);
    },
  );

  withSubject('a launch that fails is told from a program that does', async (t, subject, parts) => {
    const { backend } = subject;
    const folder = await newFolder(t);
    await writeFile(join(folder, 'no.img'), Buffer.alloc(100_000));
    const jobs = await send(
      t,
      backend,
      submission(parts, subject, [shell('true')], { image: join(folder, 'no.img') }),
    );
    const [status] = await until(backend, jobs);
    t.like(status, { state: 'failed', reason: 'launch', exitCode: 125 });
    t.truthy(status?.message);
  });
}
