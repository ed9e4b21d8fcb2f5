/**
 * How library code tells about long work without printing: it gets a {@link Progress} and the CLI decides
 * what a step looks like (listr2 on a terminal, plain lines elsewhere, nothing with --quiet).
 */

/** One step while it runs. */
export interface Step {
  /** Shows what the step is doing right now; replaces the text shown before. */
  update(text: string): void;
  /** Marks the step as one that had nothing to do, with the reason ("cached"). */
  skip(reason: string): void;
}

/** Receives the steps of one piece of long work, in order. */
export interface Progress {
  /**
   * Runs `work` as a step called `title`, and returns what it returns. A step that throws is shown as failed
   * and the error goes on to the caller.
   */
  step<T>(title: string, work: (step: Step) => Promise<T>): Promise<T>;
  /** A line that the user should see and that is no error ("without X, Y is lost"). */
  note(text: string): void;
  /** Detail for --verbose. */
  debug(text: string): void;
}

/** Progress that shows nothing: for tests and for programs that use the library. */
export const silent: Progress = {
  step: async (_title, work) => work({ update: () => undefined, skip: () => undefined }),
  note: () => undefined,
  debug: () => undefined,
};
