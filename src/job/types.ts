/** States of a job, in the order of its life. `unknown` is not an end: it says that nobody could be asked. */
export const JOB_STATES = [
  'new',
  'staging',
  'queued',
  'running',
  'finishing',
  'done',
  'failed',
  'cancelled',
  'unknown',
] as const;
export type JobState = (typeof JOB_STATES)[number];

/** Why a job ended otherwise than by its program's own end; the last two may be mended by another attempt. */
export type LostReason =
  'time-limit' | 'out-of-memory' | 'launch' | 'staging' | 'cancelled' | 'node-fail' | 'preempted';

/**
 * What a job is to do, after job file, flags and settings were brought together. It knows of no target; values
 * are plain text, which each template encodes for its own format.
 */
export interface JobDescription {
  readonly name: string;
  /** Program and arguments, before `{column}` and array values are filled in. */
  readonly program: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** A file here, `site:PATH` for a file at the site, or an http(s) URL that the site fetches and caches. */
  readonly image: string;
  /** Changes files or layers here, the first one lowest. */
  readonly changes: readonly string[];
  readonly stageIn: readonly StageIn[];
  /** Names or shell patterns below the job folder; a folder stands for all that is in it. */
  readonly stageOut: readonly string[];
  /** Name, in the job folder, of the file that is the program's standard input. */
  readonly stdin?: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly cpus: number;
  /** Memory of the guest, MiB; targets add what the launch itself needs. */
  readonly memory: number;
  /** Limit of wall-clock time, seconds. */
  readonly time?: number;
  /** Scratch disk, MiB. */
  readonly scratch?: number;
  readonly partition?: string;
  readonly account?: string;
  /** Attempts after the first one, for losses that another attempt can mend. */
  readonly retry: number;
}

/** One input: `source` is a file here or a URL that the site fetches; `name` is its path in the job folder. */
export interface StageIn {
  readonly source: string;
  readonly name: string;
  readonly executable?: boolean;
}

/** One job of a submission: an array or a sweep has several. */
export interface JobTask {
  /** SLURM_ARRAY_TASK_ID of an array or sweep. */
  readonly index?: number;
  /** Program and arguments with everything filled in. */
  readonly program: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

/** Where a job is known under which name. */
export interface RemoteJob {
  /** The target's own identifier: a Slurm job id (`17_3`), an ARC job URL, a process' folder. */
  readonly native: string;
  /** The folder that holds the sandbox, as the target names it, when it has one. */
  readonly folder?: string;
}

/** What a target said about a job at one moment. */
export interface JobStatus {
  readonly state: JobState;
  /** The target's own word, for people: `COMPLETED`, `INLRMS:Q`. */
  readonly native?: string;
  readonly exitCode?: number;
  readonly signal?: number;
  readonly reason?: LostReason;
  /** One sentence, when there is something to tell. */
  readonly message?: string;
  readonly node?: string;
  /** ISO 8601. */
  readonly queuedAt?: string;
  readonly startedAt?: string;
  readonly endedAt?: string;
}

/** outcome.json of a launch, as far as jobs need it (image/slirp/outcome.c writes it). */
export interface JobOutcome extends Readonly<Record<string, unknown>> {
  readonly origin: 'job' | 'launcher';
  readonly exit: number;
}

/** One entry for every thing that was asked for, in the same order: bulk calls never fail as a whole for one of them. */
export type Result<Value> = { readonly value: Value } | { readonly error: Error };
