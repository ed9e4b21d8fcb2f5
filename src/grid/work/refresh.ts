/** Asks the targets about jobs, for all jobs of a target at once, and writes down what changed. */
import { ApppotError } from '../../errors.ts';
import type { JournalJob } from '../../job/journal.ts';
import { isEnded, type TaskState } from '../../job/record.ts';
import type { Chosen } from '../../job/select.ts';
import type { JobStatus } from '../../job/types.ts';
import type { Work } from './context.ts';

/** Tasks that one question is about, at most. */
const BULK = 1000;

/** Why a target could not be asked: none of its jobs failed by it. */
export type Troubles = ReadonlyMap<string, Error>;

/** Statuses `unknown`, which are shown and never written down. */
export type Unknowns = ReadonlyMap<JournalJob, ReadonlyMap<number, JobStatus>>;

/**
 * Asks about all unfinished tasks.
 *
 * @param patience milliseconds that the answer of a patient target may take while nothing ends
 * @returns what could not be asked, and which tasks a target could say nothing about
 */
export async function refresh(
  work: Work,
  chosen: readonly Chosen[],
  patience = 0,
): Promise<{ readonly troubles: Troubles; readonly unknowns: Unknowns }> {
  const byTarget = new Map<string, { job: JournalJob; task: TaskState }[]>();
  for (const { job, positions } of chosen)
    for (const position of positions) {
      const task = job.tasks[position];
      if (task?.remote === undefined || isEnded(task.status)) continue;
      const list = byTarget.get(job.record.target) ?? [];
      list.push({ job, task });
      byTarget.set(job.record.target, list);
    }
  const troubles = new Map<string, Error>();
  const unknowns = new Map<JournalJob, Map<number, JobStatus>>();
  for (const [target, tasks] of byTarget) {
    try {
      for (let at = 0; at < tasks.length; at += BULK)
        await askAbout(
          work,
          target,
          tasks.slice(at, at + BULK),
          unknowns,
          tasks.length > BULK ? 0 : patience,
        );
    } catch (error) {
      work.signal.throwIfAborted();
      if (!(error instanceof ApppotError) || ['no-space', 'permission', 'journal'].includes(error.code))
        throw error;
      troubles.set(target, error);
    }
  }
  return { troubles, unknowns };
}

async function askAbout(
  work: Work,
  target: string,
  tasks: readonly { readonly job: JournalJob; readonly task: TaskState }[],
  unknowns: Map<JournalJob, Map<number, JobStatus>>,
  patience: number,
): Promise<void> {
  const backend = await work.backend(target);
  const remotes = tasks.flatMap(({ task }) => task.remote ?? []);
  const results = await backend.status(remotes, { signal: work.signal, patience });
  const changes = new Map<JournalJob, Map<string, Record<number, JobStatus>>>();
  results.forEach((result, at) => {
    const found = tasks[at];
    if (found === undefined) return;
    const { job, task } = found;
    const status: JobStatus =
      'value' in result ? result.value : { state: 'unknown', message: result.error.message };
    if (status.state === 'unknown') {
      const known = unknowns.get(job) ?? new Map<number, JobStatus>();
      known.set(task.position, status);
      unknowns.set(job, known);
    } else if (isNews(task.status, status)) {
      const bySubmission = changes.get(job) ?? new Map<string, Record<number, JobStatus>>();
      const record = bySubmission.get(task.submission) ?? {};
      record[task.position] = status;
      bySubmission.set(task.submission, record);
      changes.set(job, bySubmission);
    }
  });
  for (const [job, bySubmission] of changes)
    for (const [id, statuses] of bySubmission) await job.add({ e: 'status', id, tasks: statuses });
}

function isNews(old: JobStatus, status: JobStatus): boolean {
  return (['state', 'native', 'message', 'node', 'startedAt'] as const).some(
    (name) => status[name] !== undefined && status[name] !== old[name],
  );
}
