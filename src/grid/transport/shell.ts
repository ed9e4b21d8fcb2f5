import type { Readable, Writable } from 'node:stream';

/** A machine elsewhere that runs scripts of sh: what the two ways through ssh have in common. */
export interface Shell {
  /** For people: `user@host`. */
  readonly name: string;
  /**
   * Runs a script to its end.
   *
   * @returns its code, of any value
   * @throws ApppotError `transport` (transient) when it is unknown whether and how it ended, or the machine cannot be
   *   reached; `credentials` when the host is not the one that is known, or refused us
   */
  exec(script: string, options: ExecOptions): Promise<ExecResult>;
  close(): Promise<void>;
}

export interface ExecOptions {
  readonly signal: AbortSignal;
  /** Closed at once when there is none. */
  readonly stdin?: Readable | undefined;
  /** Gets standard output instead of the result. */
  readonly stdout?: Writable | undefined;
}

export interface ExecResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}
