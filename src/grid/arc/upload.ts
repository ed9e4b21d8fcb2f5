/** Inputs of jobs, from here into their session folders. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, basename } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { ApppotError, systemCode } from '../../errors.ts';
import type { SandboxFile } from '../../job/types.ts';
import { counter } from '../transport/parts.ts';
import type { ArcClient } from './client.ts';
import type { SessionEntry } from './listing.ts';
import { pauseAfter, SiteError } from './refusals.ts';

/** Files from this size on are looked at there when they were sent; smaller ones when their way was cut. */
const CHECKED = 1024 * 1024;
/** So many bytes more than before, and a transfer that was cut is under way: its attempts are counted anew. */
export const HEADWAY = 1024 * 1024;

export interface UploadOptions {
  readonly signal: AbortSignal;
  /** Hears of bytes that are on their way; negative for those that have to be sent again. */
  readonly onBytes: (bytes: number) => void;
}

/** Files that the client has to send; the site fetches the others. */
export function isSent(file: SandboxFile): boolean {
  return 'file' in file || 'content' in file;
}

/** Bytes that a job's files are in all. @throws ApppotError `not-found` */
export async function sizeOfFiles(files: readonly SandboxFile[]): Promise<number> {
  const sizes = await Promise.all(files.filter(isSent).map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/**
 * Sends all files of a job. A-REX starts a job as soon as each of its inputs has been sent, however much of it
 * arrived: the script comes last, and not before the sizes of files that were cut on their way are right.
 *
 * @throws ApppotError `transport`, `credentials`, `not-found`
 */
export async function uploadFiles(
  client: ArcClient,
  id: string,
  files: readonly SandboxFile[],
  script: string,
  options: UploadOptions,
): Promise<void> {
  const sent = files.filter(isSent);
  for (const file of sent.filter(({ name }) => name !== script)) await uploadOne(client, id, file, options);
  for (const file of sent.filter(({ name }) => name === script)) await uploadOne(client, id, file, options);
}

async function uploadOne(
  client: ArcClient,
  id: string,
  file: SandboxFile,
  options: UploadOptions,
): Promise<void> {
  const { signal } = options;
  const size = await sizeOf(file);
  let first = 0;
  for (let attempt = 0, total = 0; ; attempt += 1, total += 1) {
    let counted = 0;
    const open = (): Readable =>
      openFile(file, first).pipe(
        counter((sum) => {
          options.onBytes(sum - counted);
          counted = sum;
        }, first),
      );
    try {
      if (total > 0) {
        const had = first;
        first = await sizeThere(client, id, file.name, size, signal);
        if (first - had >= HEADWAY) attempt = 0;
      }
      await client.put(id, file.name, { first, size, open }, signal);
      if (total > 0 || size >= CHECKED) await checkSize(client, id, file.name, size, signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      options.onBytes(-counted);
      if (!(error instanceof ApppotError && error.transient)) throw error;
      if (attempt === 3) throw notTaken(client.http.host, file.name, size, error);
      await delay(pauseAfter(error, attempt), undefined, { signal });
    }
  }
}

/** A-REX says no more than 500 where its disk is full. */
function notTaken(host: string, name: string, size: number, error: ApppotError): ApppotError {
  const isTheirs = error instanceof SiteError;
  return new ApppotError('transport', `${host} does not take ${name} (${size} bytes): ${error.message}`, {
    cause: error,
    hint: isTheirs
      ? 'Its disk for jobs may be full: remove jobs of yours there (apppot jobs clean), try again later, or ask the site.'
      : error.hint,
  });
}

function openFile(file: SandboxFile, first: number): Readable {
  if ('file' in file) return createReadStream(file.file, { start: first });
  return Readable.from(
    'content' in file && file.content.length > first ? [file.content.subarray(first)] : [],
  );
}

async function sizeOf(file: SandboxFile): Promise<number> {
  if ('content' in file) return file.content.length;
  if (!('file' in file)) return 0;
  try {
    return (await stat(file.file)).size;
  } catch (cause) {
    const why = systemCode(cause) === 'ENOENT' ? 'it is gone' : (cause as Error).message;
    throw new ApppotError('not-found', `Cannot send ${file.file}: ${why}.`, { cause });
  }
}

async function entryOf(
  client: ArcClient,
  id: string,
  name: string,
  signal: AbortSignal,
): Promise<SessionEntry | undefined> {
  const folder = dirname(name);
  const entries = await client.list(id, folder === '.' ? '' : folder, signal);
  return entries?.find((entry) => entry.name === basename(name));
}

/** Bytes that an attempt before brought there, to go on after them; of a whole file all but one: A-REX is to see its end. */
async function sizeThere(
  client: ArcClient,
  id: string,
  name: string,
  size: number,
  signal: AbortSignal,
): Promise<number> {
  const there = (await entryOf(client, id, name, signal))?.size ?? 0;
  return there <= size ? Math.max(0, Math.min(there, size - 1)) : 0;
}

async function checkSize(
  client: ArcClient,
  id: string,
  name: string,
  size: number,
  signal: AbortSignal,
): Promise<void> {
  const there = await entryOf(client, id, name, signal);
  if (there?.size === size) return;
  throw new ApppotError('transport', `${name} has ${there?.size ?? 0} bytes there, and not ${size}.`, {
    transient: true,
  });
}
