/** Results of a job, from its session folder to a folder here. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { lstat, mkdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { ApppotError, systemCode } from '../../errors.ts';
import { isSafeName, PARTS } from '../../job/names.ts';
import { isOutput } from '../../job/outputs.ts';
import type { FetchOptions } from '../backend.ts';
import { inTheWay, makeFolders } from '../result-folders.ts';
import { partName, partSize } from '../transport/parts.ts';
import type { ArcClient } from './client.ts';
import type { SessionEntry } from './listing.ts';
import { inParallel } from './parallel.ts';
import { connectionError, pauseAfter } from './refusals.ts';
import { HEADWAY } from './upload.ts';

/** A server that lists folders in folders for ever, or more files than a job folder holds, is stopped. */
const MAX_DEPTH = 40;
const MAX_FILES = 200_000;

type Found = SessionEntry & { readonly path: string };

/**
 * Fetches what `options.outputs` names, some files at once.
 *
 * @returns paths below `folder`
 * @throws ApppotError `not-found` when the session is gone, `target` for names that lead out of the folder,
 *   `exists` when something else is in the way; `transport`, `credentials`
 */
export async function downloadOutputs(
  client: ArcClient,
  id: string,
  folder: string,
  options: FetchOptions,
): Promise<readonly string[]> {
  const { signal, progress } = options;
  const wanted = isOutput(options.outputs);
  const listed = (await walk(client, id, options)).filter(({ path }) => wanted(path));
  const links = listed.filter(({ isLink }) => isLink);
  if (links.length > 0)
    progress.note(
      `not fetched, because they are links: ${links
        .map(({ path }) => path)
        .slice(0, 5)
        .join(', ')}${links.length > 5 ? ', …' : ''}`,
    );
  const files = listed.filter(({ isLink }) => !isLink);
  const total = files.reduce((sum, { size, isFolder }) => sum + (isFolder ? 0 : size), 0);
  await mkdir(folder, { recursive: true });
  // One after another: two at once would both make the same folder.
  for (const { path, isFolder } of files) await makeFolders(folder, isFolder ? path : dirname(path));
  const plain = files.filter(({ isFolder }) => !isFolder);
  let received = 0;
  await progress.step(
    `Fetching ${plain.length === 1 ? 'a file' : `${plain.length} files`} from ${client.http.host}`,
    async (step) => {
      await inParallel(plain, 4, async (file) => {
        await downloadOne(client, id, file, join(folder, file.path), signal, (bytes) => {
          received += bytes;
          step.update(`${Math.floor((received / (total || 1)) * 100)} %`);
        });
      });
    },
  );
  return plain.map(({ path }) => path);
}

/** Everything in the session folder but AppPot's own. */
async function walk(client: ArcClient, id: string, options: FetchOptions): Promise<readonly Found[]> {
  const { signal, progress } = options;
  const found: Found[] = [];
  const open = [''];
  for (let folder = open.shift(); folder !== undefined; folder = open.shift()) {
    const entries = await client.list(id, folder, signal);
    if (entries === undefined && folder === '')
      throw new ApppotError('not-found', `The files of the job are not at ${client.http.host} any more.`);
    for (const entry of entries ?? []) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (folder === '' && (path === PARTS || path === '.apppot')) continue;
      if (!isSafeName(path) || path.includes('\uFFFD')) {
        progress.note(`not fetched, for its name: ${JSON.stringify(path)}`);
        continue;
      }
      found.push({ ...entry, path });
      if (entry.isFolder && !entry.isLink) open.push(path);
    }
    if (found.length > MAX_FILES || (open[0]?.split('/').length ?? 0) > MAX_DEPTH)
      throw new ApppotError('target', `${client.http.host} lists files without end.`);
  }
  return found;
}

async function downloadOne(
  client: ArcClient,
  id: string,
  file: Found,
  target: string,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const here = await lstat(target).catch(() => undefined);
  if (here?.isFile() === true && here.size === file.size && Math.floor(here.mtimeMs / 1000) === file.mtime) {
    onBytes(file.size);
    return;
  }
  if (here !== undefined && !here.isFile()) throw inTheWay(target);
  // Named after the content, as far as the server tells it apart: a rest of something else is not gone on with.
  const key = createHash('sha256').update(`${id} ${file.path} ${file.size} ${file.mtime}`).digest('hex');
  const part = join(dirname(target), partName(target, key.slice(0, 16)));
  if (file.size === 0) await writeFile(part, '', { mode: 0o600 });
  let attempt = 0;
  let had = file.size > 0 ? await partSize(part, file.size) : 0;
  while (file.size > 0) {
    try {
      await receive(client, id, file, part, signal, onBytes);
      break;
    } catch (error) {
      signal.throwIfAborted();
      // A way that is cut again and again is gone on with as long as it leads on.
      const has = await partSize(part, file.size);
      attempt = has - had >= HEADWAY ? 0 : attempt + 1;
      had = has;
      if (attempt > 3 || !(error instanceof ApppotError && error.transient)) throw error;
      await delay(pauseAfter(error, Math.max(0, attempt - 1)), undefined, { signal });
    }
  }
  await utimes(part, file.mtime, file.mtime);
  await rename(part, target);
}

/** Goes on where the part ends, and takes no byte more than there are. */
async function receive(
  client: ArcClient,
  id: string,
  file: Found,
  part: string,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const first = await partSize(part, file.size);
  if (first === file.size) return;
  const body = await client.read(id, file.path, { first, end: file.size }, signal);
  if (body === undefined)
    throw new ApppotError('transport', `${client.http.host} lists ${file.path}, and does not give it.`);
  let left = file.size - first;
  const limit = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      left -= chunk.length;
      onBytes(chunk.length);
      if (left >= 0) done(null, chunk);
      else
        done(new ApppotError('transport', `${client.http.host} sends more of ${file.path} than it listed.`));
    },
  });
  try {
    await pipeline(body, limit, createWriteStream(part, { flags: 'a', mode: 0o600 }), { signal });
  } catch (cause) {
    signal.throwIfAborted();
    if (systemCode(cause) === 'ENOSPC')
      throw new ApppotError('no-space', `There is no space for ${file.path} here.`, { cause });
    // What came is not to be trusted.
    if (left < 0) await rm(part, { force: true });
    throw connectionError(client.http.host, cause);
  }
  const { size } = await stat(part);
  if (size !== file.size)
    throw new ApppotError('transport', `${file.path}: ${size} bytes came, and not ${file.size}.`, {
      transient: true,
    });
}
