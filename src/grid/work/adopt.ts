/** Jobs that somebody else's program submitted, or a journal that is lost: written down here, they are followed like ours. */
import { ApppotError } from '../../errors.ts';
import type { JournalJob } from '../../job/journal.ts';
import { newSubmissionId } from '../../job/sandbox.ts';
import type { JobDescription, RemoteJob } from '../../job/types.ts';
import type { Work } from './context.ts';
import { strangers } from './reconcile.ts';

/** What the person who adopts knows about the jobs. */
export interface Adoption {
  readonly name?: string | undefined;
  /** Names, in the job's folder, of its outputs. */
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Writes jobs down that the target has and the journal has not. Nothing is changed at the target; what such a job runs
 * is not known, so it cannot be sent again.
 *
 * @param natives the target's identifiers, as `jobs reconcile --target` lists them; none means all
 * @throws ApppotError `not-found` for one that the target does not list, or that is in the journal
 */
export async function adopt(
  work: Work,
  target: string,
  natives: readonly string[],
  adoption: Adoption,
): Promise<readonly JournalJob[]> {
  const unknown = new Map((await strangers(work, target)).map((remote) => [remote.native, remote]));
  const wanted = natives.length === 0 ? [...unknown.keys()] : [...new Set(natives)];
  const remotes = wanted.map((native) => {
    const remote = unknown.get(native);
    if (remote !== undefined) return remote;
    throw new ApppotError('not-found', `${target} lists no job ${native} that is not in the journal.`, {
      hint: `"apppot jobs reconcile --target ${target}" shows those that can be adopted.`,
    });
  });
  const jobs: JournalJob[] = [];
  for (const remote of remotes) jobs.push(await writeDown(work, target, remote, adoption));
  return jobs;
}

async function writeDown(
  work: Work,
  target: string,
  remote: RemoteJob,
  adoption: Adoption,
): Promise<JournalJob> {
  const id = newSubmissionId();
  const { stdout, stderr, name = remote.native.split('/').at(-1)?.slice(0, 24) ?? target } = adoption;
  const description: JobDescription = {
    name,
    program: ['(adopted)'],
    env: {},
    image: 'site:',
    changes: [],
    stageIn: [],
    // What the job leaves, whatever its own description said.
    stageOut: ['*'],
    stdout,
    stderr,
    cpus: 1,
    memory: 0,
    retry: 0,
  };
  const created = new Date().toISOString();
  const job = await work.journal.create({
    format: 1,
    id,
    created,
    target,
    description,
    tasks: [{ program: description.program, env: {} }],
    taskInputs: [[]],
    after: [],
    folder: process.cwd(),
    adopted: true,
  });
  await job.add({ e: 'attempt', at: created, id, tasks: [0] });
  await job.add({ e: 'accepted', id, jobs: { 0: remote } });
  return job;
}
