/** Writes what differs from the base into a changes file. */
import { createWriteStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { ApppotError, systemCode } from '../errors.ts';
import { openOutput } from '../image/output.ts';
import type { Progress, Step } from '../progress.ts';
import { compressInto, compressionOf } from './compress.ts';
import { copySparse } from './copy.ts';
import type { Answer, Summary } from './engine.ts';
import { callInGuest, withScratch } from './guest.ts';
import { findSource, type Source } from './source.ts';

/** What {@link writeChanges} takes. */
export interface ChangesOptions {
  /** Name of the changes file; how it is compressed follows from it. By default {@link defaultName}. */
  readonly output?: string | undefined;
  /** Whether an existing file may be replaced. */
  readonly force: boolean;
  /** Only count; write nothing. */
  readonly dryRun: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** A changes file that was written. */
export interface ChangesResult extends Summary {
  readonly file: string;
  /** Bytes of the file. */
  readonly fileBytes: number;
}

/** apppot.YYYY-MM-DD.changes.tar.gz, with the date of the local time zone. */
export function defaultName(now: Date): string {
  const pad = (number: number): string => String(number).padStart(2, '0');
  return `apppot.${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}.changes.tar.gz`;
}

/**
 * Writes the differences between a source and its base into a file, which is there only when it is complete.
 *
 * @param name an image, COW:IMAGE or a session
 * @throws ApppotError `exists`, `not-found`, `locked`, `image-invalid` without a recorded base, `runtime-missing`,
 *   `no-space`, `interrupted`
 */
export async function writeChanges(name: string, options: ChangesOptions): Promise<ChangesResult> {
  const { progress, signal } = options;
  const file = options.output ?? defaultName(new Date());
  const kind = compressionOf(file);
  const output = options.dryRun ? undefined : await openOutput(file, options.force, 'changes file');
  const source = await findSource(name);
  return progress.step(`Reading ${name}`, async (step) => {
    if (output === undefined) {
      const answer = await readSource(source, ['--just-print', 'changes'], undefined, step, signal);
      return { ...answer.summary, file, fileBytes: 0 };
    }
    try {
      const target = createWriteStream(output.temporary, { flags: 'wx', mode: 0o644 });
      const answer = await together(signal, async (own) => {
        const stage = await compressInto(kind, target, own);
        return {
          main: readSource(source, ['changes', '-o', '-'], stage.input, step, own),
          others: [stage.done],
        };
      });
      const handle = await open(output.temporary, 'r+');
      await handle.sync().finally(() => handle.close());
      await output.commit();
      return { ...answer.summary, file, fileBytes: (await stat(output.path)).size };
    } catch (error) {
      throw noRoom(error, file);
    } finally {
      await output.discard();
    }
  });
}

/**
 * Runs a guest and what takes its output. When one of them fails the guest is ended, since nobody reads what it writes,
 * and the first error is told.
 */
export async function together<T>(
  signal: AbortSignal,
  start: (signal: AbortSignal) => Promise<{ main: Promise<T>; others: readonly Promise<unknown>[] }>,
): Promise<T> {
  const abort = new AbortController();
  const { main, others } = await start(AbortSignal.any([signal, abort.signal]));
  try {
    const [result] = await Promise.all([main, ...others]);
    return result;
  } catch (error) {
    abort.abort(error);
    await main.catch(() => undefined);
    signal.throwIfAborted();
    throw error;
  }
}

/** A full disk, as an error for the user; any other error as it is. */
export function noRoom(error: unknown, file: string): unknown {
  if (!['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '')) return error;
  return new ApppotError('no-space', `There is no room for ${file}: the disk is full, or a quota reached.`, {
    cause: error,
    hint: `Make room in ${dirname(resolve(file))}, or name a file elsewhere with -o.`,
  });
}

/**
 * Runs the engine over a source that stays as it is: of an image the guest keeps no change; of a copy-on-write file it
 * gets a copy, since even a look may have to replay a journal.
 */
export async function readSource(
  source: Source,
  words: readonly string[],
  stdout: Writable | undefined,
  step: Step,
  signal: AbortSignal,
  stdin?: Parameters<typeof callInGuest>[0]['stdin'],
): Promise<Answer> {
  return withScratch(async (scratch) => {
    const reads = { ...source };
    if (source.cow !== undefined) {
      reads.cow = join(scratch, 'cow');
      await copySparse(source.cow, reads.cow, signal);
    }
    const layered = source.layers.length > 0 ? ['--suspect-all'] : [];
    const what = `Reading ${source.name}`;
    return callInGuest(
      {
        source: reads,
        write: false,
        words: [...layered, ...words],
        step,
        signal,
        what,
        ...(stdout === undefined ? {} : { stdout }),
        ...(stdin === undefined ? {} : { stdin }),
      },
      scratch,
    );
  });
}
