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
  | 'time-limit'
  | 'out-of-memory'
  | 'no-space'
  | 'launch'
  | 'staging'
  | 'cancelled'
  | 'node-fail'
  | 'preempted';

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
  /** Seconds that the target's clock is ahead of this machine's, where they do not agree. */
  readonly ahead?: number;
  /** What an outcome measured: seconds, and KiB of the biggest process. */
  readonly usage?: {
    readonly wall: number;
    readonly user: number;
    readonly system: number;
    readonly maxRss: number;
  };
}

/**
 * outcome.json beside the results: what the supervisor measured (image/slirp/outcome.c), and what apppot-job knows
 * of the job's surroundings.
 */
export interface JobOutcome extends Readonly<Record<string, unknown>> {
  readonly origin: 'job' | 'launcher';
  readonly exitCode: number;
  readonly signal: number | null;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly wallSeconds?: number;
  readonly userSeconds?: number;
  readonly systemSeconds?: number;
  readonly maxRssKiB?: number;
  readonly oomKills?: number;
  /** Kernel and base of the image, as the guest named them itself. */
  readonly kernelVersion?: string;
  readonly baseId?: string;
  readonly node?: string;
  readonly startedAt?: string;
  readonly endedAt?: string;
  /** The batch system asked the job to end, and when it did so its time was about over. */
  readonly terminated?: boolean;
  readonly timeWasOver?: boolean;
}

/** One entry for every thing that was asked for, in the same order: bulk calls never fail as a whole for one of them. */
export type Result<Value> = { readonly value: Value } | { readonly error: Error };

/** A file of a sandbox: from here, as bytes, from a URL that the site fetches, or one that the site has. */
export type SandboxFile = {
  /** Path in the sandbox, with `/`; checked: relative, no `..`. */
  readonly name: string;
  readonly executable?: boolean;
} & (
  | { readonly file: string }
  | { readonly content: Uint8Array }
  | { readonly url: string }
  | { readonly site: string }
);

/** A submission in the form that every backend takes: src/job/sandbox.ts makes it. */
export interface Submission {
  /** `apppot-` and 16 hexadecimal digits, unique; it travels with the job so that `jobs reconcile` finds it again. */
  readonly id: string;
  readonly description: JobDescription;
  /** One, or one per array index or row of a sweep. */
  readonly tasks: readonly JobTask[];
  /** Most tasks at once. */
  readonly parallel?: number;
  /** Files that all tasks share. */
  readonly files: readonly SandboxFile[];
  /** Further files of one task (its job file with the arguments), by position in `tasks`. */
  readonly taskFiles: readonly (readonly SandboxFile[])[];
  /**
   * Name, among `files`, of the POSIX sh script that the target starts in the folder that is to be the job folder.
   * Its argument is the task's index, 0 without one; it finds the other parts beside itself.
   */
  readonly script: string;
  /** Native identifiers of jobs on the same target that have to end first. */
  readonly after: readonly { readonly when: 'ok' | 'any'; readonly job: RemoteJob }[];
}
