/** Inputs of a job: which file here becomes which one in the job folder. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';
import { checkName, isUrl } from './names.ts';
import type { StageIn } from './types.ts';

/** More files than this are better sent as an archive. */
const MAX_FILES = 10_000;

/**
 * Reads `--stage-in`: `FILE`, `FILE=NAME`, `URL` or `NAME=URL`. A folder stands for all files in it.
 *
 * @param folder what relative paths are relative to
 * @throws ApppotError `not-found`, `usage`
 */
export async function parseStageIn(texts: readonly string[], folder: string): Promise<readonly StageIn[]> {
  const all: StageIn[] = [];
  for (const text of texts) all.push(...(await one(text, folder)));
  return distinct(all);
}

/**
 * Each name once, and no file where another needs a folder; the same source twice is one.
 *
 * @throws ApppotError `usage`
 */
export function distinct(inputs: readonly StageIn[]): readonly StageIn[] {
  const found = new Map<string, StageIn>();
  for (const input of inputs) {
    const other = found.get(input.name);
    if (other !== undefined && other.source !== input.source)
      throw new ApppotError(
        'usage',
        `Two inputs are called ${input.name}: ${other.source} and ${input.source}.`,
      );
    found.set(input.name, input);
  }
  for (const { name, source } of found.values())
    for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1)) {
      const file = found.get(name.slice(0, at));
      if (file !== undefined)
        throw new ApppotError(
          'usage',
          `The input ${file.name} is a file (${file.source}), and ${name} (${source}) needs a folder of that name.`,
        );
    }
  return [...found.values()];
}

async function one(text: string, folder: string): Promise<readonly StageIn[]> {
  const equals = text.indexOf('=');
  const right = text.slice(equals + 1);
  if (equals > 0 && isUrl(right))
    return [{ source: right, name: checkName(text.slice(0, equals), '--stage-in') }];
  if (isUrl(text)) {
    const name = decodeURIComponent(basename(new URL(text).pathname));
    return [{ source: text, name: checkName(name, '--stage-in') }];
  }
  // A name may hold "=": the whole is tried first, then every split.
  for (let at = text.length; at > 0; at = text.lastIndexOf('=', at - 1)) {
    const source = join(folder, '.', text.slice(0, at));
    const path = text.startsWith('/') ? text.slice(0, at) : source;
    if (await exists(path)) {
      const name = at === text.length ? defaultName(text) : text.slice(at + 1);
      return expand(path, checkName(name, '--stage-in'));
    }
  }
  throw new ApppotError('not-found', `--stage-in: there is no file ${text}.`);
}

/** Relative paths below the folder keep their folders, as the program expects them there; others their last part. */
function defaultName(path: string): string {
  const relative = path.replace(/^(?:\.\/)+/, '');
  return relative.startsWith('/') || relative.split('/').includes('..') ? basename(relative) : relative;
}

async function expand(path: string, name: string): Promise<readonly StageIn[]> {
  const found: StageIn[] = [];
  /** @param above real folders that led here: a link back to one of them has no end */
  const visit = async (source: string, target: string, above: readonly string[]): Promise<void> => {
    const status = await stat(source).catch((cause: unknown) => {
      throw unreadable(source, cause);
    });
    if (status.isFile()) {
      found.push({ source, name: target, ...((status.mode & 0o111) === 0 ? {} : { executable: true }) });
      if (found.length > MAX_FILES)
        throw new ApppotError('usage', `${path} holds more than ${MAX_FILES} files.`, {
          hint: 'Send an archive of them, and unpack it in the job.',
        });
    } else if (status.isDirectory()) {
      const real = await realpath(source);
      if (above.includes(real))
        throw new ApppotError('usage', `--stage-in: the link ${source} leads back to ${real}.`, {
          hint: 'Links are followed, and this one has no end: remove it, or name the files one by one.',
        });
      const entries = await readdir(source).catch((cause: unknown) => {
        throw unreadable(source, cause);
      });
      for (const entry of entries.sort())
        await visit(join(source, entry), checkName(`${target}/${entry}`, '--stage-in'), [...above, real]);
    } else if (source === path)
      throw new ApppotError('usage', `--stage-in: ${path} is neither a file nor a folder.`);
  };
  await visit(path, name, []);
  return found;
}

function unreadable(source: string, cause: unknown): ApppotError {
  const code = systemCode(cause);
  const words =
    code === 'ENOENT'
      ? 'is a link that leads nowhere'
      : code === 'ELOOP'
        ? 'is a link that leads to itself'
        : code === 'EACCES'
          ? 'cannot be read'
          : `cannot be read (${code ?? String(cause)})`;
  return new ApppotError(code === 'EACCES' ? 'permission' : 'not-found', `--stage-in: ${source} ${words}.`, {
    cause,
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/**
 * The words of a command that name files here, as the program will look for them in its job folder.
 *
 * @param words program and arguments
 */
export async function filesAmong(words: readonly string[], folder: string): Promise<readonly StageIn[]> {
  const found: StageIn[] = [];
  for (const [at, word] of words.entries()) {
    // A program without a slash is looked up on the guest's PATH.
    if (word.startsWith('/') || word === '' || (at === 0 && !word.includes('/'))) continue;
    const name = word.replace(/^(?:\.\/)+/, '');
    if (name.split('/').includes('..') || /\p{Cc}/u.test(name)) continue;
    const status = await stat(join(folder, name)).catch(() => undefined);
    if (status?.isFile() !== true) continue;
    found.push({
      source: join(folder, name),
      name: checkName(name, word),
      ...((status.mode & 0o111) === 0 ? {} : { executable: true }),
    });
  }
  return distinct(found);
}
