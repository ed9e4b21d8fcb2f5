/** Sends one attempt of a job's tasks, and writes down what comes of it. */
import { ApppotError, type ErrorCode } from '../../errors.ts';
import type { JournalJob } from '../../job/journal.ts';
import { makeSubmission } from '../../job/sandbox.ts';
import type { Submission } from '../../job/types.ts';
import { layerFor } from '../../snapshot/layer.ts';
import type { Work } from './context.ts';
import { sandboxParts } from './parts.ts';

/** After these the target has not taken the job, for certain; after others nobody knows. */
const DEFINITE: readonly ErrorCode[] = [
  'usage',
  'config',
  'not-found',
  'permission',
  'no-space',
  'runtime-missing',
  'missing-tool',
  'target',
  'credentials',
];

/** The submission of an attempt; nothing is sent. */
export async function attemptSubmission(
  work: Work,
  { record }: Pick<JournalJob, 'record'>,
  positions: readonly number[],
  id: string,
): Promise<Submission> {
  const tasks = positions.flatMap((position) => {
    const task = record.tasks[position];
    return task === undefined ? [] : [{ task, inputs: record.taskInputs[position] ?? [] }];
  });
  const parts = await sandboxParts(work.target(record.target), record.description, work.signal);
  // Layers are made anew from the user's files: what is in the cache may be gone when a job is sent again.
  const { progress } = work.options;
  const changes: string[] = [];
  for (const file of record.description.changes)
    changes.push(await layerFor(file, { progress, signal: work.signal }));
  return makeSubmission(id, { ...record.description, changes }, tasks, parts, {
    after: record.after,
    parallel: record.parallel,
  });
}

/**
 * Sends tasks. To be called while the job is locked.
 *
 * @param id a new identifier, or the job's own at the first attempt
 * @returns how many were accepted, and why others were not
 * @throws what the backend throws; what is known then is written down
 */
export async function sendAttempt(
  work: Work,
  job: JournalJob,
  positions: readonly number[],
  id: string,
): Promise<{ readonly accepted: number; readonly refusals: readonly Error[] }> {
  if (job.record.adopted === true)
    throw new ApppotError('job-state', `Job ${job.shortId} was adopted: what it runs is not known here.`, {
      hint: 'Submit it again with what submitted it.',
    });
  const now = (): string => new Date().toISOString();
  await job.add({ e: 'attempt', at: now(), id, tasks: positions });
  const taken = new Set<number>();
  const refuse = async (which: readonly number[], message: string): Promise<void> => {
    const tasks = which.filter((position) => !taken.has(position));
    if (tasks.length > 0) await job.add({ e: 'refused', id, at: now(), tasks, message });
  };
  try {
    const submission = await attemptSubmission(work, job, positions, id);
    const backend = await work.backend(job.record.target);
    const results = await backend.submit(submission, {
      signal: work.signal,
      progress: work.options.progress,
      accepted: async (at, remote) => {
        const position = positions[at];
        if (position === undefined) return;
        // Before the disk has it: an error of the disk is no refusal of the target.
        taken.add(position);
        await job.add({ e: 'accepted', id, jobs: { [position]: remote } });
      },
    });
    const refusals: Error[] = [];
    const byMessage = new Map<string, number[]>();
    results.forEach((result, at) => {
      if (!('error' in result)) return;
      refusals.push(result.error);
      if (!isDefinite(result.error)) return;
      const { message } = result.error;
      byMessage.set(message, [...(byMessage.get(message) ?? []), positions[at] ?? -1]);
    });
    for (const [message, which] of byMessage) await refuse(which, message);
    return { accepted: taken.size, refusals };
  } catch (error) {
    if (isDefinite(error)) await refuse(positions, error.message);
    throw error;
  }
}

function isDefinite(error: unknown): error is ApppotError {
  return error instanceof ApppotError && DEFINITE.includes(error.code);
}
