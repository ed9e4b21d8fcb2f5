/** The only module that prints. Results go to standard output; progress, notes and errors to standard error. */
import { PassThrough, type Writable } from 'node:stream';
import type { ListrTaskWrapper, ListrRenderer } from 'listr2';
import { ApppotError } from '../errors.ts';
import type { Progress, Step } from '../progress.ts';

/** How much to say, and how. */
export interface DisplayOptions {
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly json: boolean;
}

type Task = ListrTaskWrapper<unknown, typeof ListrRenderer, typeof ListrRenderer>;

/** Prints for one run of the program. */
export class Display {
  readonly #options: DisplayOptions;

  constructor(options: DisplayOptions) {
    this.#options = options;
  }

  /** True when the caller asked for JSON: then `text` of {@link result} is not shown. */
  get json(): boolean {
    return this.#options.json;
  }

  /**
   * Prints the result of a command: `data` as one JSON document with --json, `text` otherwise.
   *
   * @param data what --json shows; stable, documented
   * @param text the same for people; nothing is printed when it is empty
   */
  result(data: unknown, text: string): void {
    if (this.#options.json) process.stdout.write(`${JSON.stringify(data, null, 2)}\n`);
    else if (text !== '') process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  }

  /** As result(), in place of what a terminal shows; elsewhere one after another. */
  refresh(data: unknown, text: string): void {
    if (!this.#options.json && process.stdout.isTTY) process.stdout.write('\u001B[H\u001B[2J');
    this.result(data, text);
  }

  /** Standard output, for a result that is too long to be held: lines of text, or one JSON document with --json. */
  stream(): Writable {
    const output = new PassThrough();
    // A reader that has seen enough (head) is no failure.
    process.stdout.on('error', () => output.destroy());
    output.pipe(process.stdout, { end: false });
    return output;
  }

  /** Prints bytes as they are: a job's own output. */
  raw(bytes: Uint8Array): void {
    process.stdout.write(bytes);
  }

  /** Progress for long work: listr2 on a terminal, plain lines elsewhere, nothing with --quiet. */
  progress(): Progress {
    const { quiet, verbose } = this.#options;
    return {
      step: (title, work) =>
        process.stderr.isTTY && !quiet && !verbose ? liveStep(title, work) : this.#plainStep(title, work),
      note: (text) => {
        if (!quiet) process.stderr.write(`${paint('33', 'note:')} ${text}\n`);
      },
      debug: (text) => {
        if (verbose) process.stderr.write(`${text}\n`);
      },
    };
  }

  /** Asks the person at the terminal; undefined when there is none, or a program reads our words. */
  ask(): ((question: string, options: { readonly echo: boolean }) => Promise<string>) | undefined {
    if (!process.stdin.isTTY || !process.stderr.isTTY || this.#options.json) return undefined;
    return async (question, options) => {
      const { askPerson } = await import('./ask.ts');
      return askPerson(question, options, { input: process.stdin, output: process.stderr });
    };
  }

  async #plainStep<T>(title: string, work: (step: Step) => Promise<T>): Promise<T> {
    const { quiet, verbose } = this.#options;
    const say = (text: string): void => {
      if (!quiet) process.stderr.write(`${text}\n`);
    };
    const started = performance.now();
    let skipped: string | undefined;
    say(`${title} …`);
    const result = await work({
      update: (text) => {
        if (verbose) say(`  ${text}`);
      },
      skip: (reason) => (skipped = reason),
    });
    say(`${title}: ${skipped ?? `done in ${seconds(started)}`}`);
    return result;
  }

  /** Shows an error: one sentence and a hint for the user's errors, stack and a request to report for ours. */
  error(error: unknown): void {
    if (this.#options.json) {
      process.stderr.write(`${JSON.stringify({ error: errorRecord(error) })}\n`);
      return;
    }
    if (error instanceof ApppotError) {
      process.stderr.write(`${paint('31', 'apppot:')} ${error.message}\n`);
      if (error.hint !== undefined) process.stderr.write(`${paint('36', 'hint:')} ${error.hint}\n`);
      if (this.#options.verbose && error.cause !== undefined)
        process.stderr.write(`${causeText(error.cause)}\n`);
      return;
    }
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(
      `${paint('31', 'apppot: internal error.')} Please report this with the lines below.\n${stack}\n`,
    );
  }
}

async function liveStep<T>(title: string, work: (step: Step) => Promise<T>): Promise<T> {
  const started = performance.now();
  let value: { readonly result: T } | undefined;
  // Loaded here: most commands have no step, and a launch must not wait for it.
  const { Listr } = await import('listr2');
  const list = new Listr<unknown, 'default', 'simple'>(
    [
      {
        title,
        task: async (_context, task) => {
          const state = { skipped: false };
          const result = await work({
            update: (text) => (task.output = text),
            skip: (reason) => {
              state.skipped = true;
              (task as unknown as Task).title = `${title}: ${reason}`;
            },
          });
          value = { result };
          if (!state.skipped) task.title = `${title} (${seconds(started)})`;
        },
      },
    ],
    {
      renderer: 'default',
      fallbackRenderer: 'simple',
      registerSignalListeners: false,
      rendererOptions: { showErrorMessage: false },
      forceUnicode: false,
    },
  );
  await list.run();
  if (value === undefined) throw new Error(`step "${title}" ended without a result`);
  return value.result;
}

/** The stable form of an error for --json. */
export function errorRecord(error: unknown): { code: string; message: string; hint?: string } {
  if (error instanceof ApppotError) {
    return {
      code: error.code,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    };
  }
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
}

function seconds(started: number): string {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}

/** Colour only for people: a terminal, and no NO_COLOR (https://no-color.org). */
function paint(style: string, text: string): string {
  const colour =
    process.stderr.isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';
  return colour ? `\u001B[${style}m${text}\u001B[0m` : text;
}

function causeText(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : '';
}
