/** What a program at the target printed and how it ended. */
export interface RemoteResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RemoteFile {
  /** Path relative to the folder that was listed, with `/`; empty for `stat`. A name that is not UTF-8 is of type `other`. */
  readonly path: string;
  readonly size: number;
  readonly type: 'file' | 'folder' | 'link' | 'other';
  /** Seconds since the epoch. */
  readonly mtime: number;
}

/**
 * A way to the machine where a target's commands and files are: this machine, or another one through ssh. Every
 * call takes a signal and throws ApppotError `transport` (unreachable, connection lost: nothing is known about what
 * happened) or `credentials` (host key, login). Paths are the target's, any bytes but NUL that are valid UTF-8.
 */
export interface Transport {
  /** For people: `here`, `user@host`. */
  readonly name: string;
  /**
   * Runs a program without a shell's interpretation of its words (over ssh each word is quoted for sh).
   * A program that ends with another code than 0 is a result, not an error; 127 says that there is no such program.
   * Never tried twice: when the connection is lost after the words were sent, nothing is known (`transport`).
   */
  run(words: readonly [string, ...string[]], options: RunOptions): Promise<RemoteResult>;
  /** Home folder of the account there, absolute. */
  home(signal: AbortSignal): Promise<string>;
  /** Makes a folder and its parents, mode 0700. */
  makeFolder(path: string, signal: AbortSignal): Promise<void>;
  /**
   * Sends a file so that its name appears only when it is whole (temporary name, size checked, rename).
   * @param source a file here, or bytes
   */
  put(source: string | Uint8Array, path: string, options: PutOptions): Promise<void>;
  /** Fetches a file, resuming `target` when it is a part of it; the name appears only when it is whole. */
  get(path: string, target: string, options: GetOptions): Promise<void>;
  /** Size and time of a file, folder or link (not what it points to). `undefined` when there is none. */
  stat(path: string, signal: AbortSignal): Promise<RemoteFile | undefined>;
  /** Bytes of a file from an offset on; empty when there is nothing. `undefined` when there is no such file. */
  read(path: string, options: ReadOptions): Promise<Buffer | undefined>;
  /** Everything below a folder; links are listed, never followed. `undefined` when there is no such folder. */
  list(path: string, signal: AbortSignal): Promise<readonly RemoteFile[] | undefined>;
  /** Removes a folder with everything in it; none is fine. Links are removed, never followed. */
  remove(path: string, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly stdin?: string | Uint8Array;
  /** Milliseconds; default 60 s. */
  readonly timeout?: number;
}

export interface PutOptions {
  readonly signal: AbortSignal;
  /** Default 0o600. */
  readonly mode?: number;
  /**
   * Names this content (its digest, say): an upload that a killed client left behind goes on where it ended.
   * The caller checks the digest at the end.
   */
  readonly resumeKey?: string;
  readonly onBytes?: (sent: number) => void;
}

export interface GetOptions {
  readonly signal: AbortSignal;
  readonly onBytes?: (received: number) => void;
}

export interface ReadOptions {
  readonly signal: AbortSignal;
  readonly offset?: number;
  /** Most bytes to return; default 1 MiB. */
  readonly limit?: number;
}
