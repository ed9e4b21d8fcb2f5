import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { ApppotError, systemCode } from '../../errors.ts';
import { baseEnvironment, run } from '../../process/run.ts';
import { partName, sendInto, sourceSize } from './parts.ts';
import type {
  GetOptions,
  PutOptions,
  ReadOptions,
  RemoteFile,
  RemoteResult,
  RunOptions,
  Transport,
} from './transport.ts';

/** What programs here may see beside the usual variables: where Slurm's and Kerberos' own files are. */
const PASSED_ON = ['SLURM_CONF', 'KRB5CCNAME'];

/** This machine as a target: commands are run and files copied here, with the same promises as through ssh. */
export class LocalTransport implements Transport {
  readonly name = 'here';
  readonly #path: readonly string[];

  /** @param path folders that come first on PATH; `~/` is the home folder */
  constructor(path: readonly string[] = []) {
    this.#path = path.map((folder) => folder.replace(/^~(?=\/)/, homedir()));
  }

  async run(words: readonly [string, ...string[]], options: RunOptions): Promise<RemoteResult> {
    const limit = AbortSignal.timeout(options.timeout ?? 60_000);
    try {
      const { exitCode, stdout, stderr } = await run(words[0], words.slice(1), {
        signal: AbortSignal.any([options.signal, limit]),
        okCodes: 'any',
        env: {
          ...Object.fromEntries(PASSED_ON.map((name) => [name, process.env[name]])),
          ...(this.#path.length === 0 ? {} : { PATH: [...this.#path, baseEnvironment()['PATH']].join(':') }),
        },
        ...(options.stdin === undefined ? {} : { input: options.stdin }),
      });
      return { code: exitCode, stdout, stderr };
    } catch (error) {
      options.signal.throwIfAborted();
      if (limit.aborted)
        throw new ApppotError('transport', `${words[0]} did not answer in time.`, {
          cause: error,
          transient: true,
        });
      if (error instanceof ApppotError && error.code === 'missing-tool')
        return { code: 127, stdout: '', stderr: `${words[0]}: not found\n` };
      throw error;
    }
  }

  home(): Promise<string> {
    return Promise.resolve(homedir());
  }

  async makeFolder(path: string): Promise<void> {
    await makeFolders(path).catch(explain(`Cannot make the folder ${path}`));
  }

  async put(source: string | Uint8Array, path: string, options: PutOptions): Promise<void> {
    const part = join(dirname(path), partName(path, options.resumeKey ?? randomBytes(6).toString('hex')));
    try {
      await sendInto(source, part, options);
      await fs.chmod(part, options.mode ?? 0o600);
      await fs.rename(part, path);
    } catch (error) {
      if (options.resumeKey === undefined) await fs.rm(part, { force: true }).catch(() => undefined);
      options.signal.throwIfAborted();
      // Another client sent the same, and was done first.
      if (systemCode(error) === 'ENOENT' && (await isSent(source, path, options))) return;
      return explain(`Cannot write ${path}`)(error);
    }
  }

  async get(path: string, target: string, options: GetOptions): Promise<void> {
    const { size, mtimeMs } = await fs.stat(path).catch(explain(`Cannot fetch ${path}`));
    const part = join(dirname(target), partName(target, `${mtimeMs}-${size}`));
    try {
      await sendInto(path, part, options);
      await fs.rename(part, target);
    } catch (error) {
      options.signal.throwIfAborted();
      return explain(`Cannot fetch ${path}`)(error);
    }
  }

  async stat(path: string): Promise<RemoteFile | undefined> {
    const found = await fs.lstat(path).catch(ignoreMissing);
    return found === undefined ? undefined : remoteFile('', found);
  }

  async read(path: string, options: ReadOptions): Promise<Buffer | undefined> {
    const { offset = 0, limit = 2 ** 20 } = options;
    if (limit === 0) return Buffer.alloc(0);
    const chunks: Buffer[] = [];
    try {
      const stream = createReadStream(path, {
        start: offset,
        end: offset + limit - 1,
        signal: options.signal,
      });
      for await (const chunk of stream) chunks.push(chunk as Buffer);
    } catch (error) {
      options.signal.throwIfAborted();
      if (isMissing(error)) return undefined;
      return explain(`Cannot read ${path}`)(error);
    }
    return Buffer.concat(chunks);
  }

  async list(path: string, signal: AbortSignal): Promise<readonly RemoteFile[] | undefined> {
    const found: RemoteFile[] = [];
    const visit = async (below: string): Promise<void> => {
      signal.throwIfAborted();
      for (const entry of await fs.readdir(join(path, below), { encoding: 'buffer' })) {
        const name = below === '' ? entry.toString() : `${below}/${entry.toString()}`;
        if (!Buffer.from(entry.toString()).equals(entry)) {
          found.push({ path: name, size: 0, type: 'other', mtime: 0 });
          continue;
        }
        // A running job may remove files while they are listed.
        const state = await fs.lstat(join(path, name)).catch(ignoreMissing);
        if (state === undefined) continue;
        const file = remoteFile(name, state);
        found.push(file);
        if (file.type === 'folder') await visit(name);
      }
    };
    if ((await fs.lstat(path).catch(ignoreMissing)) === undefined) return undefined;
    await visit('').catch(explain(`Cannot list ${path}`));
    return found;
  }

  async remove(path: string): Promise<void> {
    await fs.rm(path, { recursive: true, force: true }).catch(explain(`Cannot remove ${path}`));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

async function isSent(
  source: string | Uint8Array,
  path: string,
  { resumeKey }: PutOptions,
): Promise<boolean> {
  if (resumeKey === undefined) return false;
  const there = await fs.stat(path).catch(ignoreMissing);
  return there?.isFile() === true && there.size === (await sourceSize(source));
}

function remoteFile(
  path: string,
  state: {
    size: number;
    mtimeMs: number;
    isFile(): boolean;
    isDirectory(): boolean;
    isSymbolicLink(): boolean;
  },
): RemoteFile {
  const folder = state.isDirectory() ? 'folder' : 'other';
  const type = state.isFile() ? 'file' : state.isSymbolicLink() ? 'link' : folder;
  return { path, size: state.size, type, mtime: Math.floor(state.mtimeMs / 1000) };
}

/** Not mkdir's own way (recursive): it never ends below /proc, where a folder is there and takes none. */
async function makeFolders(path: string): Promise<void> {
  try {
    await fs.mkdir(path, { mode: 0o700 });
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' && dirname(path) !== path) {
      await makeFolders(dirname(path));
      await fs.mkdir(path, { mode: 0o700 }).catch(ignoreFolder(path));
    } else await ignoreFolder(path)(error);
  }
}

/** Made by somebody else meanwhile, or long ago. */
function ignoreFolder(path: string): (error: unknown) => Promise<void> {
  return async (error) => {
    if (systemCode(error) !== 'EEXIST' || !(await fs.stat(path)).isDirectory()) throw error;
  };
}

function ignoreMissing(error: unknown): undefined {
  if (isMissing(error)) return undefined;
  throw error;
}

function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '');
}

const CODES: Readonly<Record<string, 'not-found' | 'no-space' | 'permission'>> = {
  ENOENT: 'not-found',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EACCES: 'permission',
  EPERM: 'permission',
  EROFS: 'permission',
};

/** Turns a system error into one for people; our own go on as they are. */
function explain(what: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof ApppotError) throw error;
    const code = CODES[systemCode(error) ?? ''] ?? 'target';
    throw new ApppotError(code, `${what}: ${(error as Error).message}.`, { cause: error });
  };
}
