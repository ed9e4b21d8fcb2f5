/** Work that changes a source: a new base, changes put into it. */
import { realpath, statfs } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { ApppotError } from '../errors.ts';
import { freeBytes } from '../image/superblock.ts';
import type { Progress, Step } from '../progress.ts';
import { readSource } from './changes.ts';
import { plainContent } from './compress.ts';
import { replaceByCopy } from './copy.ts';
import type { Answer, Summary } from './engine.ts';
import { callInGuest, withScratch, type GuestCall } from './guest.ts';
import { findSource, type Source } from './source.ts';
import { verifyFile } from './verify.ts';

/** What both take. */
export interface ApplyOptions {
  /** Say what would be done, and change nothing. */
  readonly dryRun: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Records the state of a source as the base that later changes are relative to.
 *
 * @param name an image, COW:IMAGE or a session
 * @returns the new base id and counts
 * @throws ApppotError `not-found`, `locked`, `permission`, `no-space`, `runtime-missing`, `interrupted`; the source is as
 *   it was then
 */
export async function recordBase(name: string, options: ApplyOptions): Promise<Summary> {
  const { dryRun, progress, signal } = options;
  const source = await findSource(name);
  return progress.step(`Recording the base of ${name}`, async (step) => {
    if (dryRun) {
      const answer = await readSource(source, ['--just-print', 'base'], undefined, step, signal);
      return answer.summary ?? {};
    }
    const answer = await onCopy(source, signal, async (copy, scratch) =>
      callInGuest(
        { source: copy, write: true, words: ['base'], step, signal, what: `Recording the base of ${name}` },
        scratch,
      ),
    );
    return answer.summary ?? {};
  });
}

/**
 * Puts changes files into a source, in order. All of them or none.
 *
 * @param name an image, COW:IMAGE or a session
 * @param force merge into another base than the one that the changes belong to
 * @returns one summary for each file
 * @throws ApppotError `base-mismatch` with both ids, `archive`, and those of {@link recordBase}; the source is as it was
 */
export async function mergeChanges(
  name: string,
  files: readonly string[],
  force: boolean,
  options: ApplyOptions,
): Promise<readonly Summary[]> {
  const { dryRun, progress, signal } = options;
  const source = await findSource(name);
  // Before anything is copied: what is damaged is known in a moment.
  for (const file of files) {
    const { data } = await progress.step(`Checking ${basename(file)}`, async () => verifyFile(file, signal));
    await refuseTooLarge(file, Number(data ?? 0), source);
  }
  const words = [...(dryRun ? ['--just-print'] : []), 'merge', ...(force ? ['--force'] : []), '-'];
  const mergeAll = async (
    call: (file: string, step: Step) => Promise<Answer>,
  ): Promise<readonly Summary[]> => {
    const summaries: Summary[] = [];
    for (const file of files) {
      const merge = async (step: Step): Promise<Answer> => call(file, step);
      const { summary } = await progress.step(`Merging ${basename(file)}`, merge);
      // The engine counts file by file; it got one, as "-".
      const [counted = summary] = (summary?.['files'] ?? []) as readonly Summary[];
      summaries.push({ ...counted, file });
    }
    return summaries;
  };
  if (dryRun) {
    return mergeAll(async (file, step) => {
      const { stream, whole } = await plainContent(file, signal);
      const answer = await readSource(source, words, undefined, step, signal, stream);
      await whole;
      return answer;
    });
  }
  return onCopy(source, signal, async (copy, scratch) =>
    mergeAll(async (file, step) => {
      const { stream, whole } = await plainContent(file, signal);
      const call: GuestCall = {
        ...{ source: copy, write: true, words, stdin: stream, step, signal },
        what: `Merging ${file} into ${name}`,
      };
      const answer = await callInGuest(call, scratch);
      await whole;
      return answer;
    }),
  );
}

/** What cannot fit is refused before a copy has grown as far as disk or image go: a small file can hold a lot. */
async function refuseTooLarge(file: string, bytes: number, { image, cow }: Source): Promise<void> {
  const folder = dirname(await realpath(cow ?? image));
  const { bavail, bsize } = await statfs(folder);
  const inside = cow === undefined ? await freeBytes(image) : undefined;
  const [room, where] =
    inside !== undefined && inside < bavail * bsize ? [inside, image] : [bavail * bsize, folder];
  if (bytes <= room) return;
  const megabytes = (count: number): string => `${Math.ceil(count / 1e6)} MB`;
  throw new ApppotError(
    'no-space',
    `${file} holds ${megabytes(bytes)} of content, and ${where} has room for ${megabytes(room)}.`,
    {
      hint: 'Make room there, or enlarge the image with "apppot resize". Is the file from somebody you trust?',
    },
  );
}

/** Changes a copy of what holds a source's changes: the image itself, or its copy-on-write file. */
async function onCopy<T>(
  source: Source,
  signal: AbortSignal,
  work: (copy: Source, scratch: string) => Promise<T>,
): Promise<T> {
  return withScratch(async (scratch) =>
    replaceByCopy(source.cow ?? source.image, signal, async (copy) =>
      work(source.cow === undefined ? { ...source, image: copy } : { ...source, cow: copy }, scratch),
    ),
  );
}
