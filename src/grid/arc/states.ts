/** States of ARC's REST interface in our words, and what A-REX's sentences about failures mean. */
import type { JobState, JobStatus, LostReason } from '../../job/types.ts';

/** Every state that A-REX 6 knows (REST 1.0), for questions about all jobs: only such are answered with live states. */
export const ARC_STATES: Readonly<Record<string, JobState>> = {
  ACCEPTING: 'staging',
  ACCEPTED: 'staging',
  PREPARING: 'staging',
  PREPARED: 'staging',
  SUBMITTING: 'queued',
  QUEUING: 'queued',
  HELD: 'queued',
  RUNNING: 'running',
  EXITINGLRMS: 'finishing',
  OTHER: 'running',
  EXECUTED: 'finishing',
  FINISHING: 'finishing',
  FINISHED: 'done',
  FAILED: 'failed',
  KILLING: 'finishing',
  KILLED: 'cancelled',
  WIPED: 'unknown',
};

/** Our word for a state; one that A-REX does not have yet is no end. */
export function stateOf(native: string): JobState {
  return ARC_STATES[native] ?? 'unknown';
}

/** Sentences of A-REX and of its batch system back ends, the first that fits. */
const SENTENCES: readonly (readonly [RegExp, LostReason])[] = [
  [/cancel+ed|external request/i, 'cancelled'],
  [/time ?limit|wall ?time|cpu ?time|timed? ?out in lrms|deadline/i, 'time-limit'],
  [/memory|\boom\b/i, 'out-of-memory'],
  [/preempt/i, 'preempted'],
  [/node fail|node_fail|boot fail/i, 'node-fail'],
  [/stage|staging|download|upload|input file|source replica|transfer/i, 'staging'],
  [/submission|submit|runtime environment|\bRTE\b/i, 'launch'],
];

/** A job that ended without an outcome of ours. */
export function statusFromWords(native: string, failure: string): JobStatus {
  const message = failure.trim().split('\n').join(' ').slice(0, 500);
  const state = stateOf(native);
  const reason =
    state === 'cancelled' ? 'cancelled' : SENTENCES.find(([pattern]) => pattern.test(message))?.[1];
  const code = /LRMS error: \((\d{1,3})\) Job failed/i.exec(message)?.[1];
  const exitCode = state === 'done' ? 0 : code === undefined ? undefined : Number(code);
  return {
    state: reason === 'cancelled' ? 'cancelled' : state,
    native,
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(state === 'done' || reason === undefined ? {} : { reason }),
    ...(message === '' ? {} : { message }),
  };
}
