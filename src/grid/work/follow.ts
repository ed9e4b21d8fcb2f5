/** Waits for jobs, asking less and less often, and sends again what a retry can mend. */
import { setTimeout as delay } from 'node:timers/promises';
import { ApppotError } from '../../errors.ts';
import type { JournalJob } from '../../job/journal.ts';
import { isEnded } from '../../job/record.ts';
import { newSubmissionId } from '../../job/sandbox.ts';
import { tasksOf, type Chosen } from '../../job/select.ts';
import type { LostReason } from '../../job/types.ts';
import type { Work } from './context.ts';
import { refresh } from './refresh.ts';
import { sendAttempt } from './send.ts';

/** Losses that are nobody's fault: another attempt may do. */
const MENDABLE: readonly LostReason[] = ['node-fail', 'preempted'];

/** Milliseconds from the first question to the second, and at most. */
const PACE = { local: [100, 1000], patient: [1000, 30_000], far: [250, 30_000] } as const;
/** A job's end is noticed late by at most this part of the time that was waited for it. */
const LATE = 0.1;

/**
 * Waits until all chosen tasks have ended.
 *
 * @param onRound called after each round, with what it found
 * @throws ApppotError `credentials` when a target does not know us any more; a target that does not answer is asked
 *   again, as long as it takes
 */
export async function follow(
  work: Work,
  chosen: readonly Chosen[],
  onRound: () => void = () => undefined,
): Promise<void> {
  const local = chosen.every(({ job }) => work.target(job.record.target).type === 'local');
  const poll = Math.min(...chosen.map(({ job }) => (work.target(job.record.target).poll ?? Infinity) * 1000));
  const targets = [...new Set(chosen.map(({ job }) => job.record.target))];
  // Several targets have to be asked in turns: none may hold its answer back.
  const patient = targets.length === 1 && (await work.backend(targets[0] ?? '')).patient;
  const [first, slowest] = PACE[local ? 'local' : patient ? 'patient' : 'far'];
  let begun = performance.now();
  let told = '';
  let wait = 0;
  for (;;) {
    if (!patient) await pause(wait, work.signal);
    const asked = performance.now();
    const { troubles } = await refresh(work, chosen, patient ? wait : 0);
    for (const [target, error] of troubles) {
      if (error instanceof ApppotError && error.code === 'credentials') throw error;
      const text = `${target}: ${error.message}`;
      if (text !== told) work.options.progress.note(`${text} Asked again; no job failed by it.`);
      told = text;
    }
    if (troubles.size === 0) told = '';
    if (await mend(work, chosen)) begun = performance.now();
    onRound();
    const left = chosen.flatMap(tasksOf).filter((task) => !isEnded(task.status));
    if (left.length === 0) return;
    if (left.every(({ remote }) => remote === undefined))
      throw new ApppotError('job-state', 'Nobody knows whether the target took these jobs.', {
        hint: '"apppot jobs reconcile" finds out.',
      });
    // An answer that was held back has taken the time; one that came early, of a job that is about to end, has not.
    if (patient) await pause(wait - (performance.now() - asked), work.signal);
    wait = Math.min(Math.max(first, (performance.now() - begun) * LATE), slowest, poll);
  }
}

/** @throws the signal's reason */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (milliseconds > 0) await delay(milliseconds, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

/** Sends tasks again that were lost without their fault. True when there were some. */
export async function mend(work: Work, chosen: readonly Chosen[]): Promise<boolean> {
  let sent = false;
  for (const { job, positions } of chosen) {
    if (lostTasks(job, positions).length === 0) continue;
    await job.locked(work.signal, work.onWait, async () => {
      // Another client may have done so meanwhile.
      const lost = lostTasks(job, positions);
      if (lost.length === 0) return;
      work.options.progress.note(`${job.shortId}: sending ${lost.length} lost task(s) again`);
      await sendAttempt(work, job, lost, newSubmissionId());
      sent = true;
    });
  }
  return sent;
}

function lostTasks(job: JournalJob, positions: readonly number[]): readonly number[] {
  return positions.filter((position) => {
    const task = job.tasks[position];
    return (
      task?.status.state === 'failed' &&
      MENDABLE.includes(task.status.reason ?? 'launch') &&
      task.attempt <= job.record.description.retry &&
      !task.cancelAsked
    );
  });
}
