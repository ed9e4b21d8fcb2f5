/** What became of a job: the outcome file of its folder decides, Slurm's word only where there is none. */
import { statusOf } from '../../job/outcome.ts';
import { waitingText } from './words.ts';
import type { JobOutcome, JobStatus, LostReason } from '../../job/types.ts';

/** What squeue or sacct say. Times are seconds since the epoch. */
export interface SlurmWord {
  readonly state: string;
  readonly reason?: string;
  readonly node?: string;
  readonly queued?: number;
  readonly started?: number;
  readonly ended?: number;
}

/** What the job's folder says. */
export interface FolderWord {
  readonly outcome?: JobOutcome;
  /** The task has begun on a node. */
  readonly started: boolean;
  /** The whole sandbox is not there. */
  readonly gone: boolean;
}

/** A file that was written on a node may be seen elsewhere only after this time (NFS attribute caches). */
const FILE_DELAY = 90;

const ACTIVE: Readonly<Record<string, JobStatus['state']>> = {
  PENDING: 'queued',
  CONFIGURING: 'queued',
  REQUEUED: 'queued',
  REQUEUE_FED: 'queued',
  REQUEUE_HOLD: 'queued',
  SPECIAL_EXIT: 'queued',
  RESV_DEL_HOLD: 'queued',
  RUNNING: 'running',
  RESIZING: 'running',
  SIGNALING: 'running',
  STOPPED: 'running',
  SUSPENDED: 'running',
  COMPLETING: 'finishing',
  STAGE_OUT: 'finishing',
};

const LOST: Readonly<Record<string, { reason: LostReason; message: string }>> = {
  TIMEOUT: { reason: 'time-limit', message: 'Slurm ended it at its time limit. Ask for more with --time.' },
  DEADLINE: { reason: 'time-limit', message: 'Slurm ended it at its deadline.' },
  OUT_OF_MEMORY: {
    reason: 'out-of-memory',
    message: 'Slurm ended it: it took more memory than it had been given there. Ask for more with --mem.',
  },
  NODE_FAIL: { reason: 'node-fail', message: 'Its node failed.' },
  BOOT_FAIL: { reason: 'node-fail', message: 'Its node could not be started.' },
  PREEMPTED: { reason: 'preempted', message: 'It was preempted by another job.' },
};

/** True for a word that says that the job is still Slurm's. */
export function isActive(state: string): boolean {
  return ACTIVE[state] !== undefined;
}

/**
 * Brings both words together.
 *
 * @param word undefined when Slurm was asked and does not know the job (any more)
 * @param now seconds since the epoch, by the target's clock
 */
export function decide(word: SlurmWord | undefined, folder: FolderWord, now: number): JobStatus {
  const known = word === undefined ? {} : facts(word);
  const active = ACTIVE[word?.state ?? ''];
  if (active !== undefined) return { ...known, state: active, ...waitingFor(word) };
  if (folder.outcome !== undefined) return { ...known, ...withOutcome(word, folder.outcome) };
  if (word === undefined) return forgotten(folder);
  if (word.state === 'CANCELLED' || word.state === 'REVOKED') {
    const never = word.reason === 'DependencyNeverSatisfied' || word.reason === 'Dependency';
    const message = never ? 'The job that it was to follow did not succeed.' : 'It was cancelled.';
    return { ...known, state: 'cancelled', reason: 'cancelled', message };
  }
  const lost = LOST[word.state];
  if (lost !== undefined) return { ...known, state: 'failed', ...lost };
  if (!folder.started && word.reason === 'BadConstraints')
    return {
      ...known,
      state: 'failed',
      reason: 'staging',
      message: 'Slurm refused it: no node is like that.',
    };
  if (now - (word.ended ?? 0) < FILE_DELAY) return { ...known, state: 'finishing' };
  return {
    ...known,
    state: 'failed',
    reason: 'launch',
    message: `It ended without an outcome (${word.state}): its folder cannot be written on the node (a full disk?), or is another one there.`,
  };
}

function facts({ state, node, queued, started, ended }: SlurmWord): Partial<JobStatus> {
  const time = (seconds: number): string => new Date(seconds * 1000).toISOString();
  return {
    native: state,
    ...(node === undefined || node === '' ? {} : { node }),
    ...(queued === undefined ? {} : { queuedAt: time(queued) }),
    ...(started === undefined || state === 'PENDING' ? {} : { startedAt: time(started) }),
    ...(ended === undefined || isActive(state) ? {} : { endedAt: time(ended) }),
  };
}

function waitingFor(word: SlurmWord | undefined): { message?: string } {
  if (word?.state !== 'PENDING') return {};
  const message = waitingText(word.reason ?? '');
  return message === undefined ? {} : { message };
}

function withOutcome(word: SlurmWord | undefined, outcome: JobOutcome): JobStatus {
  const status = statusOf(outcome);
  if (status.state === 'done' || word === undefined) return status;
  if (word.state === 'CANCELLED') return { ...status, state: 'cancelled', reason: 'cancelled' };
  const lost = LOST[word.state];
  // The program's own failure stays one, unless the batch system had asked it to end.
  const asked = outcome.terminated === true || outcome.origin === 'launcher';
  return lost === undefined || !asked ? status : { ...status, ...lost };
}

function forgotten({ started, gone }: FolderWord): JobStatus {
  if (gone) return { state: 'unknown', message: 'Slurm does not know it any more, and its folder is gone.' };
  if (!started)
    return {
      state: 'cancelled',
      reason: 'cancelled',
      message: 'It left the queue before it started: Slurm does not know it any more.',
    };
  return {
    state: 'failed',
    reason: 'node-fail',
    message: 'It was started, Slurm does not know it any more, and it left no outcome.',
  };
}
