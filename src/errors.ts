/**
 * The two kinds of error: an ApppotError tells the user what is wrong and what to do (no stack is shown);
 * anything else that is thrown is a bug of ours and is reported as one.
 */

/**
 * Every code that AppPot can end with. The codes are documented in docs/errors.md, are never re-used for
 * something else, and are what `--json` and outcome.json carry.
 */
export type ErrorCode =
  | 'usage'
  | 'config'
  | 'config-syntax'
  | 'not-found'
  | 'exists'
  | 'permission'
  | 'missing-tool'
  | 'process-failed'
  | 'interrupted'
  | 'no-space'
  | 'runtime-missing'
  | 'runtime-build'
  | 'runtime-source'
  | 'image-invalid'
  | 'image-full'
  | 'image-build'
  | 'module-failed'
  | 'driver-unavailable'
  | 'script-failed'
  | 'mirror'
  | 'launch'
  | 'locked'
  | 'transport'
  | 'credentials'
  | 'target'
  | 'job-state'
  | 'journal'
  | 'archive'
  | 'base-mismatch'
  | 'internal';

/** What else an {@link ApppotError} may carry beside code and message. */
export interface ErrorDetails {
  /** What the user can do about it: one or two plain sentences. */
  readonly hint?: string | undefined;
  /** The error that led to this one; shown with --verbose. */
  readonly cause?: unknown;
  /** True when trying again may help. */
  readonly transient?: boolean;
  /** Process exit code; by default derived from the code by {@link exitCodeOf}. */
  readonly exitCode?: number;
}

/** An error that is meant for the user. */
export class ApppotError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly transient: boolean;
  readonly exitCode: number;

  /**
   * @param code one of the documented codes
   * @param message one sentence: what is wrong, with which value
   * @param details hint, cause, and how to go on
   */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'ApppotError';
    this.code = code;
    this.hint = details.hint;
    this.transient = details.transient ?? false;
    this.exitCode = details.exitCode ?? exitCodeOf(code);
  }
}

/** 2 for a command line that makes no sense, 130 for Ctrl-C, 1 for everything else. */
function exitCodeOf(code: ErrorCode): number {
  if (code === 'usage') return 2;
  if (code === 'interrupted') return 130;
  return 1;
}

/** The `code` of a Node.js system error (ENOENT, EACCES, …), or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
