/** What all work on jobs needs: the journal, targets opened once, whom to tell. */
import { loadTarget, type Target } from '../../config/targets.ts';
import type { Journal } from '../../job/journal.ts';
import type { Backend } from '../backend.ts';
import { openBackend } from '../targets.ts';
import type { OpenOptions } from '../transport/open.ts';

/** One for each run of the program; closed at its end. */
export class Work {
  readonly journal: Journal;
  readonly options: OpenOptions;
  readonly signal: AbortSignal;
  readonly #backends = new Map<string, Promise<Backend>>();

  constructor(journal: Journal, options: OpenOptions, signal: AbortSignal) {
    this.journal = journal;
    this.options = options;
    this.signal = signal;
  }

  /** @throws ApppotError `config` when the target is not in the settings (any more) */
  target(name: string): Target {
    return loadTarget(name);
  }

  /** The backend of a target; nothing is asked of it yet. */
  backend(name: string): Promise<Backend> {
    const known = this.#backends.get(name);
    if (known !== undefined) return known;
    const opened = Promise.resolve().then(() => openBackend(this.target(name), this.options));
    this.#backends.set(name, opened);
    return opened;
  }

  /** Tells that another client has to be waited for. */
  readonly onWait = (owner: string): void => {
    this.options.progress.note(`waiting for another apppot (process ${owner}) that works on this job`);
  };

  async close(): Promise<void> {
    for (const opened of this.#backends.values())
      await opened.then((backend) => backend.close()).catch(() => undefined);
  }
}
