import type { JobStatus, RemoteJob, Result, Submission } from '../job/types.ts';
import type { Progress } from '../progress.ts';

export type { SandboxFile, Submission } from '../job/types.ts';

/** One line of `apppot targets check`. */
export interface CheckLine {
  readonly title: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly hint?: string;
}

/**
 * One target. The contract, which test/grid/contract.ts holds every backend to:
 * - Bulk calls answer with one result per entry, in order; one bad entry never spoils the others.
 * - *Unknown is not failed*: when the target cannot be asked, `status` answers `unknown` with a message, or the whole
 *   call throws `transport` or `credentials`; a job never becomes `failed` by it.
 * - `submit` calls `accepted` as soon as the target has all of a task, before it goes on to the next one, so that a
 *   client that is killed has written down all that is known; `find` recovers what happened in between. It settles the
 *   submission: what it does not find never starts later, and what it finds without all of its inputs is cancelled.
 * - `cancel`, `clean` may be repeated; a job that is gone is no error.
 * - `fetch` puts the outputs (and outcome.json, standard output and error) below `folder`, never outside of it,
 *   whole files only; called again it fetches what is missing.
 */
export interface Backend {
  readonly name: string;
  /** `status` heeds {@link StatusOptions.patience}. */
  readonly patient: boolean;
  submit(submission: Submission, options: SubmitOptions): Promise<readonly Result<RemoteJob>[]>;
  /**
   * The jobs of a submission that the target knows, by task position: after a crash between sending and writing down.
   * Only to be called when nobody sends that submission any more.
   */
  find(id: string, options: CallOptions): Promise<ReadonlyMap<number, RemoteJob>>;
  status(jobs: readonly RemoteJob[], options: StatusOptions): Promise<readonly Result<JobStatus>[]>;
  cancel(jobs: readonly RemoteJob[], options: CallOptions): Promise<readonly Result<void>[]>;
  /** Every job of this account that AppPot may look at, also ones that others submitted. */
  list(options: CallOptions): Promise<readonly RemoteJob[]>;
  /** @returns paths of what was fetched, relative to `folder` */
  fetch(job: RemoteJob, folder: string, options: FetchOptions): Promise<readonly string[]>;
  /** A part of an output of a job that may still run; `undefined` when there is none yet. */
  read(job: RemoteJob, stream: JobStream, options: StreamOptions): Promise<Buffer | undefined>;
  /** Removes everything of ended jobs at the target. */
  clean(jobs: readonly RemoteJob[], options: CallOptions): Promise<readonly Result<void>[]>;
  /** Tries the target for real. */
  check(options: CallOptions): Promise<readonly CheckLine[]>;
  /** What would be sent, by file name: descriptions, scripts. Changes nothing, asks nobody. */
  preview(submission: Submission, format?: string): Promise<ReadonlyMap<string, string>>;
  close(): Promise<void>;
}

export type JobStream = 'stdout' | 'stderr' | 'console' | 'target';

export interface CallOptions {
  readonly signal: AbortSignal;
}

export interface StatusOptions extends CallOptions {
  /**
   * Milliseconds that a patient backend may hold the answer back while nothing ends: it notices an end sooner than by
   * being asked more often. Default 0.
   */
  readonly patience?: number | undefined;
}

export interface SubmitOptions extends CallOptions {
  readonly progress: Progress;
  accepted(position: number, job: RemoteJob): Promise<void>;
}

export interface FetchOptions extends CallOptions {
  readonly progress: Progress;
  readonly outputs: readonly string[];
}

export interface StreamOptions extends CallOptions {
  readonly offset: number;
  /** Names of the job's outputs in its folder. */
  readonly stdout: string;
  readonly stderr: string;
}
