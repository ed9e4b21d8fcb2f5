/** What A-REX's words mean for a job. */
import type { JobState, JobStatus, LostReason } from '../../job/types.ts';

/** States of the REST interface 1.0. */
const STATES: Readonly<Record<string, JobState>> = {
  ACCEPTING: 'staging',
  ACCEPTED: 'staging',
  PREPARING: 'staging',
  PREPARED: 'queued',
  SUBMITTING: 'queued',
  QUEUING: 'queued',
  RUNNING: 'running',
  HELD: 'running',
  EXITINGLRMS: 'running',
  OTHER: 'running',
  EXECUTED: 'finishing',
  FINISHING: 'finishing',
  KILLING: 'finishing',
  FINISHED: 'done',
  FAILED: 'failed',
  KILLED: 'cancelled',
};

/** States after which nothing changes any more, by which `GET /jobs?state=` filters at once, where others lag. */
export const ENDED = ['FINISHED', 'FAILED', 'KILLED'];

/** The state that a word of A-REX stands for; unknown words are unknown, and never a failure. */
export function stateOf(word: string): JobState {
  return STATES[word.toUpperCase()] ?? 'unknown';
}

/**
 * Why a job failed that left no outcome, from A-REX's sentence about it.
 *
 * @param words content of diagnose/failed, such as "LRMS error: (271) job killed: wall time exceeded"
 */
export function failureOf(words: string): JobStatus {
  const message = words.trim().split('\n').at(-1) ?? '';
  const reasons: readonly (readonly [RegExp, LostReason])[] = [
    [/cancel|external request|user request/i, 'cancelled'],
    [/wall ?time|time limit|timed? ?out|cputime/i, 'time-limit'],
    [/memory|OUT_OF_ME/i, 'out-of-memory'],
    [/preempt/i, 'preempted'],
    [/node fail/i, 'node-fail'],
    [/data transfer|staging|download|upload|input file|source replica|cache/i, 'staging'],
  ];
  const reason = reasons.find(([pattern]) => pattern.test(message))?.[1];
  const exitCode = /LRMS error: \((\d+)\)/.exec(message)?.[1];
  return {
    state: reason === 'cancelled' ? 'cancelled' : 'failed',
    ...(reason === undefined ? {} : { reason }),
    ...(exitCode === undefined || reason !== undefined ? {} : { exitCode: Number(exitCode) & 255 }),
    ...(message === '' ? {} : { message }),
  };
}
