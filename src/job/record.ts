/** What is written down about a job, and the state that follows from it. */
import type { JobDescription, JobStatus, JobTask, RemoteJob, StageIn } from './types.ts';

/** job.json: what does not change. Written before anything is sent. */
export interface JobRecord {
  readonly format: 1;
  /** Identifier of the job, and of its first attempt's submission. */
  readonly id: string;
  /** ISO 8601. */
  readonly created: string;
  readonly target: string;
  readonly description: JobDescription;
  readonly tasks: readonly JobTask[];
  readonly taskInputs: readonly (readonly StageIn[])[];
  readonly parallel?: number;
  readonly after: readonly { readonly when: 'ok' | 'any'; readonly job: RemoteJob }[];
  /** Folder that the job was submitted from: `jobs fetch` brings results there. */
  readonly folder: string;
  /** Submitted by something else: what it runs is not known. */
  readonly adopted?: true;
}

/** One line of the log. Positions are those of `tasks`. */
export type JobEvent =
  | { readonly e: 'attempt'; readonly at: string; readonly id: string; readonly tasks: readonly number[] }
  | { readonly e: 'accepted'; readonly id: string; readonly jobs: Readonly<Record<number, RemoteJob>> }
  /** The target said no: these are not there, for certain. */
  | {
      readonly e: 'refused';
      readonly id: string;
      readonly at: string;
      readonly tasks: readonly number[];
      readonly message: string;
    }
  | { readonly e: 'status'; readonly id: string; readonly tasks: Readonly<Record<number, JobStatus>> }
  | { readonly e: 'cancel'; readonly at: string; readonly tasks: readonly number[] }
  | { readonly e: 'fetched'; readonly at: string; readonly tasks: Readonly<Record<number, string>> }
  | { readonly e: 'cleaned'; readonly at: string; readonly tasks: readonly number[] };

/** One task as it stands. */
export interface TaskState {
  readonly position: number;
  /** 1 for the first one. */
  readonly attempt: number;
  /** Submission of the current attempt. */
  readonly submission: string;
  /** Undefined while nobody knows whether the target took it. */
  readonly remote?: RemoteJob;
  readonly status: JobStatus;
  readonly cancelAsked: boolean;
  /** Folder that its results were brought to. */
  readonly fetched?: string;
  readonly cleaned: boolean;
}

/** States that a task does not leave by itself. */
export function isEnded(status: JobStatus): boolean {
  return status.state === 'done' || status.state === 'failed' || status.state === 'cancelled';
}

/**
 * The state of every task after these events.
 *
 * An end is an end: a late word of another client (it asked before) does not take it back.
 */
export function foldEvents(record: JobRecord, events: readonly JobEvent[]): TaskState[] {
  const states = record.tasks.map((_task, position): TaskState => ({
    position,
    attempt: 0,
    submission: record.id,
    status: { state: 'new' },
    cancelAsked: false,
    cleaned: false,
  }));
  const change = (position: number, update: (state: TaskState) => Partial<TaskState>): void => {
    const state = states[position];
    if (state !== undefined) states[position] = { ...state, ...update(state) };
  };
  for (const event of events) {
    switch (event.e) {
      case 'attempt':
        for (const position of event.tasks) {
          const { attempt } = states[position] ?? { attempt: 0 };
          states[position] = {
            position,
            attempt: attempt + 1,
            submission: event.id,
            status: { state: 'staging' },
            cancelAsked: false,
            cleaned: false,
          };
        }
        break;
      case 'accepted':
        for (const [key, remote] of Object.entries(event.jobs))
          change(Number(key), (state) =>
            state.submission !== event.id || state.remote !== undefined
              ? {}
              : { remote, ...(isEnded(state.status) ? {} : { status: { state: 'queued' } }) },
          );
        break;
      case 'refused':
        for (const position of event.tasks)
          change(position, (state) =>
            state.submission !== event.id || state.remote !== undefined
              ? {}
              : { status: { state: 'failed', reason: 'staging', message: event.message, endedAt: event.at } },
          );
        break;
      case 'status':
        for (const [key, status] of Object.entries(event.tasks))
          change(Number(key), (state) =>
            state.submission !== event.id || isEnded(state.status) ? {} : { status: merge(state, status) },
          );
        break;
      case 'cancel':
        for (const position of event.tasks) change(position, () => ({ cancelAsked: true }));
        break;
      case 'fetched':
        for (const [key, fetched] of Object.entries(event.tasks)) change(Number(key), () => ({ fetched }));
        break;
      case 'cleaned':
        for (const position of event.tasks) change(position, () => ({ cleaned: true }));
        break;
    }
  }
  return states;
}

/** Times that were known once stay known: a target may forget when a job started. */
function merge({ status: old, cancelAsked }: TaskState, status: JobStatus): JobStatus {
  const { queuedAt, startedAt, node } = old;
  return {
    ...(queuedAt === undefined ? {} : { queuedAt }),
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(node === undefined ? {} : { node }),
    ...status,
    // Who asked for the end knows why it came.
    ...(cancelAsked &&
    status.state === 'failed' &&
    (status.reason === 'cancelled' || status.signal !== undefined)
      ? { state: 'cancelled', reason: 'cancelled' }
      : {}),
  };
}

/** The state of a whole job: the earliest of its unfinished tasks' states decides, then failures. */
export function jobState(tasks: readonly TaskState[]): JobStatus['state'] {
  const states = new Set(tasks.map(({ status }) => status.state));
  const order = [
    'running',
    'finishing',
    'queued',
    'staging',
    'new',
    'unknown',
    'failed',
    'cancelled',
  ] as const;
  return order.find((state) => states.has(state)) ?? 'done';
}
