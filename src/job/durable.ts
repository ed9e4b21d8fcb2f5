/** Files that a crash leaves old or new, and never half. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';

/**
 * Makes a folder with files in it, all at once: it is there whole or not at all, also after a power cut.
 *
 * @param parent an existing folder
 * @throws ApppotError `no-space`, `permission`, `exists`
 */
export async function createFolder(
  parent: string,
  name: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  const temporary = join(parent, `.new-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(temporary, { mode: 0o700 });
    for (const [file, text] of Object.entries(files)) {
      const handle = await open(join(temporary, file), 'wx', 0o600);
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    await syncFolder(temporary);
    await rename(temporary, join(parent, name));
    await syncFolder(parent);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw explain(error, join(parent, name));
  }
}

/** Writes a folder's entries to the disk; a file system that cannot do that is as it is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (systemCode(error) !== 'EINVAL') throw error;
  } finally {
    await handle.close();
  }
}

/**
 * A file of JSON lines that grows by whole lines. Lines that are given while others are written go to the disk
 * together, so that a thousand of them cost one wait for it.
 */
export class AppendLog {
  readonly #path: string;
  #waiting: string[] = [];
  #writing: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Adds a line; when the promise resolves it is on the disk.
   *
   * @throws ApppotError `no-space`, `permission`
   */
  async append(line: unknown): Promise<void> {
    this.#waiting.push(JSON.stringify(line));
    // Whoever comes while a write runs is written by the next one.
    const after = this.#writing ?? Promise.resolve();
    const mine = (this.#next ??= after.catch(() => undefined).then(() => this.#flush()));
    this.#writing = mine;
    await mine;
  }

  #next: Promise<void> | undefined;

  async #flush(): Promise<void> {
    this.#next = undefined;
    const lines = this.#waiting.map((line) => `${line}\n`).join('');
    this.#waiting = [];
    let handle: FileHandle | undefined;
    try {
      handle = await open(this.#path, 'a+', 0o600);
      // A write that a full disk cut short must not spoil the next line.
      const { size } = await handle.stat();
      const last = size === 0 ? undefined : (await handle.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0];
      await handle.appendFile(last === undefined || last === 10 ? lines : `\n${lines}`);
      await handle.datasync();
    } catch (error) {
      throw explain(error, this.#path);
    } finally {
      await handle?.close();
    }
  }
}

/**
 * The lines of such a file. One that a crash cut short, or that is no JSON, is left out.
 *
 * @returns undefined when there is no file
 */
export async function readLines(path: string): Promise<readonly unknown[] | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined;
    throw explain(error, path);
  }
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as unknown];
    } catch {
      return [];
    }
  });
}

/** A system error as one for people. */
export function explain(error: unknown, path: string): unknown {
  const code = systemCode(error) ?? '';
  if (['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code))
    return new ApppotError('no-space', `Cannot write ${path}: no space is left.`, {
      cause: error,
      hint: 'Make room; "apppot jobs reconcile" then finds what the targets know of your jobs.',
    });
  if (['EACCES', 'EPERM', 'EROFS'].includes(code))
    return new ApppotError('permission', `Cannot use ${path}.`, { cause: error });
  if (['ENOTEMPTY', 'EEXIST'].includes(code))
    return new ApppotError('exists', `${path} is there already.`, { cause: error });
  return error;
}
