/**
 * The journal of jobs, in $XDG_STATE_HOME/apppot/jobs: a folder for each job, with job.json, which never changes, and
 * log, which only grows. A submission is written down before it is sent, and every word of a target after it came,
 * so a client may be killed at any moment, and two of them may work at once.
 */
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stateFolder } from '../config/paths.ts';
import { ApppotError, systemCode } from '../errors.ts';
import { withLock } from '../runtime/lock.ts';
import { AppendLog, createFolder, explain, readLines } from './durable.ts';
import { foldEvents, type JobEvent, type JobRecord, type TaskState } from './record.ts';

/** Grows when an older AppPot could not read what a newer one writes. */
const FORMAT = 1;
const ID = /^apppot-[0-9a-f]{16}$/;

/** All jobs of this user. */
export class Journal {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /**
   * Opens the journal, and makes it at the first time.
   *
   * @throws ApppotError `journal` when a newer AppPot has written it, `no-space`, `permission`
   */
  static async open(folder: string = stateFolder('jobs')): Promise<Journal> {
    const file = join(folder, 'format');
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const found = await readFile(file, 'utf8').catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      });
      if (found === undefined || found.trim() === '') await writeFormat(file);
      else if (!/^\d+\s*$/.test(found) || Number(found) > FORMAT)
        throw new ApppotError(
          'journal',
          `${folder} was written by a newer AppPot (format ${found.trim()}).`,
          {
            hint: 'Update AppPot, or set XDG_STATE_HOME to another folder; nothing was changed.',
          },
        );
    } catch (error) {
      throw explain(error, folder);
    }
    return new Journal(folder);
  }

  /**
   * Writes a new job down; afterwards it may be sent.
   *
   * @throws ApppotError `no-space`, `permission`
   */
  async create(record: JobRecord): Promise<JournalJob> {
    await createFolder(this.folder, record.id, { 'job.json': JSON.stringify(record), log: '' });
    return new JournalJob(join(this.folder, record.id), record, []);
  }

  /** Every job, the oldest first; a folder that another client is just removing is left out. */
  async list(): Promise<readonly JournalJob[]> {
    const names = (await readdir(this.folder)).filter((name) => ID.test(name));
    const jobs = (await Promise.all(names.map((name) => this.load(name)))).filter((job) => job !== undefined);
    return jobs.sort(
      (one, other) =>
        one.record.created.localeCompare(other.record.created) ||
        one.record.id.localeCompare(other.record.id),
    );
  }

  /** One job by its whole identifier. */
  async load(id: string): Promise<JournalJob | undefined> {
    const folder = join(this.folder, id);
    const text = await readFile(join(folder, 'job.json'), 'utf8').catch((error: unknown) => {
      // Removed just now. Anything else is said: a job must not seem to be gone because it cannot be read.
      if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined;
      throw explain(error, folder);
    });
    if (text === undefined) return undefined;
    let record: JobRecord;
    try {
      record = JSON.parse(text) as JobRecord;
    } catch (cause) {
      throw new ApppotError('journal', `${folder}/job.json is damaged.`, {
        cause,
        hint: 'Move the folder away; "apppot jobs reconcile" looks for its jobs at the targets.',
      });
    }
    return new JournalJob(folder, record, (await readLines(join(folder, 'log'))) ?? []);
  }
}

async function writeFormat(file: string): Promise<void> {
  const part = `${file}.${process.pid}`;
  const handle = await open(part, 'w', 0o600);
  try {
    await handle.writeFile(`${FORMAT}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, file);
}

/** One job of the journal. */
export class JournalJob {
  readonly record: JobRecord;
  readonly folder: string;
  readonly #log: AppendLog;
  #events: JobEvent[];
  #tasks: readonly TaskState[] | undefined;

  constructor(folder: string, record: JobRecord, events: readonly unknown[]) {
    this.folder = folder;
    this.record = record;
    this.#events = events.filter(isEvent);
    this.#log = new AppendLog(join(folder, 'log'));
  }

  /** What the user calls it: the first digits. */
  get shortId(): string {
    return this.record.id.slice('apppot-'.length, 'apppot-'.length + 8);
  }

  /** The tasks as they stand, by position. */
  get tasks(): readonly TaskState[] {
    return (this.#tasks ??= foldEvents(this.record, this.#events));
  }

  /** Positions of the tasks of one attempt, in the order of its submission. */
  attemptTasks(submission: string): readonly number[] {
    for (const event of this.#events)
      if (event.e === 'attempt' && event.id === submission) return event.tasks;
    return [];
  }

  /**
   * Writes down what happened; when the promise resolves it is on the disk.
   *
   * @throws ApppotError `no-space`, `permission`
   */
  async add(event: JobEvent): Promise<void> {
    await this.#log.append(event);
    this.#events.push(event);
    this.#tasks = undefined;
  }

  /** Reads what other clients wrote meanwhile. */
  async reload(): Promise<void> {
    this.#events = ((await readLines(join(this.folder, 'log'))) ?? []).filter(isEvent);
    this.#tasks = undefined;
  }

  /**
   * Runs `work` while no other client sends, fetches or removes this job; what they wrote is known to it.
   *
   * @param onWait called once when another client has to be waited for
   */
  async locked<T>(signal: AbortSignal, onWait: (owner: string) => void, work: () => Promise<T>): Promise<T> {
    return withLock(join(this.folder, 'lock'), signal, onWait, async () => {
      await this.reload();
      return work();
    });
  }

  /** Removes the job from the journal: there, or gone, and nothing between. */
  async remove(): Promise<void> {
    const gone = `${this.folder}.removed`.replace(/([^/]*)$/, '.$1');
    await rename(this.folder, gone);
    await rm(gone, { recursive: true, force: true });
  }
}

function isEvent(line: unknown): line is JobEvent {
  return typeof line === 'object' && line !== null && 'e' in line && typeof line.e === 'string';
}
