/** apppot-snap, the engine of snapshots: how it is found, called, and what its answers mean. */
import { PassThrough } from 'node:stream';
import { ApppotError, type ErrorCode } from '../errors.ts';
import { runPiped } from '../process/pipe.ts';
import type { Step } from '../progress.ts';
import { findRuntime, type Runtime } from '../runtime/find.ts';

/** A runtime that has everything that snapshots need. */
export interface SnapRuntime extends Runtime {
  readonly helper: string;
  readonly snap: string;
}

/** What the engine says at the end of its work. Counts are of paths, `bytes` of content. */
export interface Summary {
  readonly base?: string;
  readonly added?: number;
  readonly changed?: number;
  readonly deleted?: number;
  readonly bytes?: number;
  readonly [key: string]: unknown;
}

/** How a call of the engine ended. */
export interface Answer {
  readonly code: number;
  readonly summary: Summary | undefined;
  readonly error: { readonly message: string; readonly hint?: string | undefined } | undefined;
}

/** Exit codes of apppot-snap (image/snap), as codes of ours. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  2: 'usage',
  3: 'base-mismatch',
  4: 'archive',
  5: 'image-invalid',
};

const HINTS: Readonly<Record<number, string>> = {
  3: 'Use the image that the changes belong to; --force merges nevertheless.',
  4: 'Copy or make the file again; nothing was changed.',
  5: 'Record one with "apppot snap base"; changes are relative to it.',
};

/**
 * The built runtime.
 *
 * @throws ApppotError `runtime-missing` when there is none, or one from before snapshots
 */
export async function snapRuntime(): Promise<SnapRuntime> {
  const runtime = await findRuntime().catch(() => undefined);
  const { helper, snap } = runtime ?? {};
  if (runtime === undefined || helper === undefined || snap === undefined)
    throw new ApppotError(
      'runtime-missing',
      'Snapshots need a runtime with apppot-snap, and there is none.',
      {
        hint: 'Build it with "apppot runtime build".',
      },
    );
  return { ...runtime, helper, snap };
}

/** Collects what the engine writes on standard error while it works. */
export class Listener {
  readonly #step: Step | undefined;
  readonly #texts: string[] = [];
  #json: Record<string, unknown> | undefined;
  #shown = 0;

  /** @param step shows how far the engine is */
  constructor(step?: Step) {
    this.#step = step;
  }

  /** One line of standard error. */
  readonly line = (text: string): void => {
    const [, done, total] = /^progress (\d+) (\d+)$/.exec(text) ?? [];
    if (done !== undefined) {
      this.#progress(Number(done), Number(total));
      return;
    }
    if (!this.json(text) && text.trim() !== '' && this.#texts.length < 20) this.#texts.push(text);
  };

  /** Takes a JSON object, from wherever it came; false when it is none. */
  json(text: string): boolean {
    if (!text.trimStart().startsWith('{')) return false;
    try {
      this.#json = JSON.parse(text) as Record<string, unknown>;
      return true;
    } catch {
      return false;
    }
  }

  /** The answer, once the program has ended. */
  answer(code: number): Answer {
    const { error, ...summary } = this.#json ?? {};
    if (code === 0) return { code, summary, error: undefined };
    const given = error as { message?: string; hint?: string } | undefined;
    const text = this.#texts.map((line) => line.replace(/^apppot-snap: /, ''));
    return {
      code,
      summary,
      error: { message: given?.message ?? text.join('\n'), hint: textOf(given?.hint) },
    };
  }

  #progress(done: number, total: number): void {
    // A terminal shows ten steps a second, and no more.
    const now = performance.now();
    if (now - this.#shown < 100) return;
    this.#shown = now;
    this.#step?.update(total > 0 ? `${Math.floor((100 * done) / total)} % of ${total}` : `${done}`);
  }
}

/**
 * The error of an answer that is not 0.
 *
 * @param what what was being done, for the sentence ("Merging x.tar.gz into apppot.img")
 */
export function engineError(what: string, { code, error }: Answer): ApppotError {
  const message = error?.message === undefined || error.message === '' ? `code ${code}` : error.message;
  const isFull = /no space left|disk quota exceeded/i.test(message);
  const known = isFull ? 'no-space' : (CODES[code] ?? 'process-failed');
  const sentence = /[.!?]$/.test(message) ? message : `${message}.`;
  return new ApppotError(known, `${what} failed: ${sentence}`, { hint: error?.hint ?? HINTS[code] });
}

/** An empty text is none. */
function textOf(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

/**
 * Runs apppot-snap here, on a file.
 *
 * @param stdout where its standard output goes; without one the answer is read from it
 * @throws ApppotError as {@link engineError} says
 */
export async function runEngine(
  words: readonly string[],
  what: string,
  signal: AbortSignal,
  stdout?: NodeJS.WritableStream,
): Promise<Answer> {
  const { snap } = await snapRuntime();
  const listener = new Listener();
  const { sink, text } = collector();
  const { code } = await runPiped(snap, words, {
    signal,
    stdout: (stdout as PassThrough | undefined) ?? sink,
    onLine: listener.line,
  });
  if (stdout === undefined) listener.json(await text());
  const answer = listener.answer(code);
  if (code !== 0) throw engineError(what, answer);
  return answer;
}

/** A stream whose text is wanted whole. It is short: a JSON object. */
export function collector(): { sink: PassThrough; text: () => Promise<string> } {
  const sink = new PassThrough();
  const chunks: Buffer[] = [];
  const ended = new Promise<string>((resolve, reject) => {
    sink.on('data', (chunk: Buffer) => chunks.push(chunk));
    sink.once('error', reject);
    sink.once('end', () => {
      resolve(Buffer.concat(chunks).toString());
    });
  });
  return { sink, text: () => ended };
}
