import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApppotError } from '../../errors.ts';
import { counter, partName, partSize, sourceSize, sourceStream } from './parts.ts';
import { quote, quotePath } from './script.ts';
import type { ExecOptions, ExecResult, Shell } from './shell.ts';
import type {
  GetOptions,
  PutOptions,
  ReadOptions,
  RemoteFile,
  RemoteResult,
  RunOptions,
  Transport,
} from './transport.ts';

/** What a script ends with when a file is not there; no program that it calls uses it. */
const MISSING = 144;
/** Uploads go on at a multiple of this many bytes. */
const BLOCK = 65_536;
/** Milliseconds before the second, third … try of what may be tried again. */
const PAUSES = [500, 1000, 2000, 4000, 8000];

/**
 * Commands and files of another machine, by scripts of sh with programs that every Linux has. What can be repeated
 * without harm is, when the connection was lost; programs that callers run are not.
 */
export class ShellTransport implements Transport {
  readonly name: string;
  readonly #shell: Shell;
  #home: string | undefined;
  #answered = false;

  constructor(shell: Shell) {
    this.#shell = shell;
    this.name = shell.name;
  }

  async run(words: readonly [string, ...string[]], options: RunOptions): Promise<RemoteResult> {
    const limit = AbortSignal.timeout(options.timeout ?? 60_000);
    try {
      const { code, stdout, stderr } = await this.#shell.exec(words.map(quote).join(' '), {
        signal: AbortSignal.any([options.signal, limit]),
        stdin: options.stdin === undefined ? undefined : Readable.from([Buffer.from(options.stdin)]),
      });
      return { code, stdout: stdout.toString(), stderr };
    } catch (error) {
      options.signal.throwIfAborted();
      if (!limit.aborted) throw error;
      throw lost(this.name, `${words[0]} did not answer in time`, error);
    }
  }

  async home(signal: AbortSignal): Promise<string> {
    this.#home ??= (await this.#repeat('printf %s "$HOME"', { signal })).stdout.toString();
    return this.#home;
  }

  async makeFolder(path: string, signal: AbortSignal): Promise<void> {
    const result = await this.#repeat(`umask 077; mkdir -p ${quotePath(path)}`, { signal });
    if (result.code !== 0) throw refused(this.name, `Cannot make the folder ${path}`, result);
  }

  async put(source: string | Uint8Array, path: string, options: PutOptions): Promise<void> {
    const whole = await sourceSize(source);
    const key = options.resumeKey ?? randomBytes(6).toString('hex');
    const part = posix.join(posix.dirname(path), partName(path, key));
    // Two clients that send the same at once write the same bytes to the same places, and one of them is done first.
    const done =
      options.resumeKey === undefined
        ? ''
        : `[ -e "$p" ] || [ "$(wc -c <${quotePath(path)})" != ${whole} ] || exit 0\n`;
    const script = (block: number) => `umask 077; p=${quotePath(part)}
${block === 0 ? '' : `${done}[ -e "$p" ] || exit ${MISSING}\n`}dd of="$p" obs=${BLOCK} ibs=${BLOCK} seek=${block} conv=notrunc,sparse || exit 1
${done}[ "$(wc -c <"$p")" -eq ${whole} ] || exit ${MISSING}
chmod ${(options.mode ?? 0o600).toString(8)} "$p" && mv -f "$p" ${quotePath(path)}`;
    let fresh = options.resumeKey === undefined;
    const result = await this.#insist(options.signal, async () => {
      // Writes at fixed places: bytes that an earlier, lost connection still delivers are the same ones.
      const there = fresh ? 0 : ((await this.stat(part, options.signal))?.size ?? 0);
      fresh = false;
      const block = there > whole ? 0 : Math.floor(there / BLOCK);
      if (there > whole) await this.remove(part, options.signal);
      const bytes = counter(options.onBytes, block * BLOCK);
      // An unreadable source destroys `bytes`, whose error then ends the upload.
      pipeline(sourceStream(source, block * BLOCK), bytes).catch(() => undefined);
      const sent = await this.#shell.exec(script(block), { signal: options.signal, stdin: bytes });
      if (sent.code === MISSING) throw lost(this.name, `${path} did not arrive whole`);
      return sent;
    });
    if (result.code === 0) return;
    if (options.resumeKey === undefined) await this.remove(part, options.signal).catch(() => undefined);
    throw refused(this.name, `Cannot write ${path}`, result);
  }

  async get(path: string, target: string, options: GetOptions): Promise<void> {
    await this.#insist(options.signal, async () => {
      const file = await this.#follow(path, options.signal);
      const part = join(dirname(target), partName(target, `${file.mtime}-${file.size}`));
      const offset = await partSize(part, file.size);
      const received = counter(options.onBytes, offset, file.size);
      const written = pipeline(received, createWriteStream(part, { flags: 'a', mode: 0o600 }));
      written.catch(() => undefined);
      try {
        const script = `tail -c +${offset + 1} ${quotePath(path)} | head -c ${file.size - offset}`;
        await this.#shell.exec(script, { signal: options.signal, stdout: received });
      } finally {
        // What arrived is kept, also when the connection was lost.
        received.end();
        await written.catch((error: unknown) => {
          options.signal.throwIfAborted();
          throw error instanceof ApppotError ? error : localFailure(part, error);
        });
      }
      if ((await fs.stat(part)).size !== file.size) throw lost(this.name, `${path} did not arrive whole`);
      await fs.rename(part, target);
    });
  }

  async stat(path: string, signal: AbortSignal): Promise<RemoteFile | undefined> {
    const p = quotePath(path);
    const result = await this.#repeat(
      `[ -e ${p} ] || [ -L ${p} ] || exit ${MISSING}; find ${p} -maxdepth 0 -printf '%y %s %T@ \\0'`,
      { signal },
    );
    if (result.code === MISSING) return undefined;
    if (result.code !== 0) throw refused(this.name, `Cannot look at ${path}`, result);
    return parseListing(result.stdout)[0];
  }

  async read(path: string, options: ReadOptions): Promise<Buffer | undefined> {
    const { offset = 0, limit = 2 ** 20 } = options;
    const p = quotePath(path);
    const result = await this.#repeat(
      `[ -e ${p} ] || exit ${MISSING}; [ -r ${p} ] || cat ${p} || exit 1; tail -c +${offset + 1} ${p} | head -c ${limit}`,
      options,
    );
    if (result.code === MISSING) return undefined;
    if (result.code !== 0) throw refused(this.name, `Cannot read ${path}`, result);
    return result.stdout;
  }

  async list(path: string, signal: AbortSignal): Promise<readonly RemoteFile[] | undefined> {
    const p = quotePath(path);
    const result = await this.#repeat(
      `[ -d ${p} ] || exit ${MISSING}; find ${p} -mindepth 1 -printf '%y %s %T@ %P\\0'`,
      { signal },
    );
    if (result.code === MISSING) return undefined;
    // A running job may remove files while they are listed.
    const vanished = result.stderr.split('\n').every((line) => /^$|: No such file or directory$/.test(line));
    if (result.code !== 0 && !vanished) throw refused(this.name, `Cannot list ${path}`, result);
    return parseListing(result.stdout);
  }

  async remove(path: string, signal: AbortSignal): Promise<void> {
    if (/^[./]*$/.test(path)) throw new Error(`asked to remove "${path}"`);
    const result = await this.#repeat(`rm -rf ${quotePath(path)}`, { signal });
    if (result.code !== 0) throw refused(this.name, `Cannot remove ${path}`, result);
  }

  close(): Promise<void> {
    return this.#shell.close();
  }

  async #follow(path: string, signal: AbortSignal): Promise<{ size: number; mtime: string }> {
    const p = quotePath(path);
    const result = await this.#shell.exec(
      `[ -e ${p} ] || exit ${MISSING}; find -L ${p} -maxdepth 0 -type f -printf '%s %T@'`,
      { signal },
    );
    if (result.code === MISSING) throw new ApppotError('not-found', `There is no ${path} on ${this.name}.`);
    const [size = '', mtime = ''] = result.stdout.toString().split(' ');
    if (result.code !== 0 || !/^\d+$/.test(size)) throw refused(this.name, `Cannot fetch ${path}`, result);
    return { size: Number(size), mtime: mtime.replace(/[^\d.]/g, '') };
  }

  #repeat(script: string, options: ExecOptions): Promise<ExecResult> {
    return this.#insist(options.signal, () => this.#shell.exec(script, { signal: options.signal }));
  }

  /** Does what may be done twice again, when the connection was lost. */
  async #insist<Value>(signal: AbortSignal, work: () => Promise<Value>): Promise<Value> {
    // A host that never answered has a wrong name or port rather than a bad moment.
    for (const pause of this.#answered ? PAUSES : PAUSES.slice(0, 1)) {
      try {
        const value = await work();
        this.#answered = true;
        return value;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ApppotError && error.code === 'transport' && error.transient)) throw error;
        await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal });
      }
    }
    return work();
  }
}

function parseListing(bytes: Buffer): RemoteFile[] {
  const found: RemoteFile[] = [];
  for (let at = 0, end = bytes.indexOf(0); end >= 0; at = end + 1, end = bytes.indexOf(0, at)) {
    const raw = bytes.subarray(at, end);
    const match = /^(\w) (\d+) (-?\d+)\S* (.*)$/s.exec(raw.toString());
    if (match === null) continue;
    const [, kind = '', size = '', mtime = '', path = ''] = match;
    const valid = Buffer.from(raw.toString()).equals(raw);
    const type = valid ? (TYPES[kind] ?? 'other') : 'other';
    found.push({ path, size: Number(size), type, mtime: Number(mtime) });
  }
  return found;
}

const TYPES: Readonly<Record<string, RemoteFile['type']>> = { f: 'file', d: 'folder', l: 'link' };

/** Nothing is known about how it ended; trying again may help. */
export function lost(name: string, what: string, cause?: unknown): ApppotError {
  return new ApppotError('transport', `${name}: ${what}.`, { cause, transient: true });
}

function refused(name: string, what: string, result: ExecResult): ApppotError {
  const words = result.stderr
    .split('\n')
    .filter((line) => !/^$|records (?:in|out)$|bytes .*copied/.test(line))
    .slice(-3)
    .join('\n');
  const message = `${what} on ${name}: ${words === '' ? `code ${result.code}` : words}`;
  if (/No space left|quota exceeded/i.test(words))
    return new ApppotError('no-space', message, {
      hint: 'Free space at the site ("apppot jobs clean" removes ended jobs), or name another folder in the target\'s settings.',
    });
  if (/Permission denied|Read-only file system|not permitted/i.test(words))
    return new ApppotError('permission', message);
  if (/No such file|Not a directory/i.test(words)) return new ApppotError('not-found', message);
  return new ApppotError('target', message);
}

function localFailure(part: string, cause: unknown): ApppotError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'no-space' : 'permission';
  return new ApppotError(kind, `Cannot write ${part}: ${message}.`, { cause });
}
