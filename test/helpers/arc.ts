import { setMaxListeners } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { ArcBackend } from '../../src/grid/arc/backend.ts';
import type { ArcSettings } from '../../src/grid/arc/settings.ts';
import { newSubmissionId } from '../../src/job/sandbox.ts';
import type { JobDescription, JobStatus, RemoteJob, Submission } from '../../src/job/types.ts';
import { silent } from '../../src/progress.ts';
import type { GridLab } from './grid.ts';

export const signal: AbortSignal = new AbortController().signal;
setMaxListeners(0, signal);

export function arcSettings(lab: GridLab, more: Partial<ArcSettings> = {}): ArcSettings {
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
export function arcBackend(t: ExecutionContext, lab: GridLab, more: Partial<ArcSettings> = {}): ArcBackend {
  const arc = new ArcBackend(arcSettings(lab, more));
  t.teardown(() => arc.close());
  return arc;
}

export const PLAIN: JobDescription = {
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
export function scriptSubmission(script: string, count = 1): Submission {
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

export async function submitAll(arc: ArcBackend, submission: Submission): Promise<readonly RemoteJob[]> {
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
export async function untilEnded(
  arc: ArcBackend,
  jobs: readonly RemoteJob[],
  limit = 120,
): Promise<readonly JobStatus[]> {
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
