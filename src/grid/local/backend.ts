/** Jobs on this machine: a supervisor for each submission, which survives the client; same sandbox as anywhere. */
import { existsSync } from 'node:fs';
import { appendFile, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stateFolder } from '../../config/paths.ts';
import { ApppotError, systemCode } from '../../errors.ts';
import { OUTCOME, PARTS } from '../../job/names.ts';
import { parseOutcome, statusOf } from '../../job/outcome.ts';
import type { JobStatus, RemoteJob, Result, Submission } from '../../job/types.ts';
import { startDetached } from '../../process/detached.ts';
import { baseEnvironment } from '../../process/run.ts';
import type {
  Backend,
  CallOptions,
  CheckLine,
  FetchOptions,
  JobStream,
  StreamOptions,
  SubmitOptions,
} from '../backend.ts';
import { fetchFolder } from '../folder/fetch.ts';
import { previewSandbox } from '../folder/preview.ts';
import { sendSandbox, taskFolder, taskIndex, type SandboxPlace } from '../folder/send.ts';
import { streamFile } from '../folder/streams.ts';
import { checkSpace } from '../space.ts';
import { LocalTransport } from '../transport/local.ts';
import { refuseHeavyUse } from './login-node.ts';
import { CLOSED, livingProcess, PLAN, SUPERVISOR, type LocalPlan } from './paths.ts';

/** Settings of a local target. */
export interface LocalSettings {
  readonly name: string;
  /** Folder for sandboxes, absolute. */
  readonly folder: string;
  /** Processors that local jobs may use together; all of this machine by default. */
  readonly parallel?: number | undefined;
  /** Heavy use is fine although this is a login node. */
  readonly allowLoginNode: boolean;
}

/** See {@link Backend}. Native identifiers are job folders. */
export class LocalBackend implements Backend {
  readonly name: string;
  readonly patient = false;
  readonly #settings: LocalSettings;
  readonly #place: SandboxPlace;

  constructor(settings: LocalSettings) {
    this.name = settings.name;
    this.#settings = settings;
    this.#place = { transport: new LocalTransport(), root: settings.folder, inPlace: true };
  }

  async submit(submission: Submission, options: SubmitOptions): Promise<readonly Result<RemoteJob>[]> {
    const plan = this.#plan(submission);
    if (!this.#settings.allowLoginNode) refuseHeavyUse(submission, plan.parallel);
    const folder = await sendSandbox(this.#place, submission, { [PLAN]: JSON.stringify(plan) }, options);
    await this.#startSupervisor(folder, options.signal);
    const jobs = submission.tasks.map((_task, position) => this.#remote(submission, position));
    await Promise.all(jobs.map((job, position) => options.accepted(position, job)));
    return jobs.map((value) => ({ value }));
  }

  #remote(submission: Submission, position: number): RemoteJob {
    const folder = taskFolder(this.#place, submission, position);
    return { native: folder, folder };
  }

  #plan(submission: Submission): LocalPlan {
    const slots = this.#settings.parallel ?? availableParallelism();
    return {
      indices: submission.tasks.map((_task, position) => taskIndex(submission, position)),
      parallel: Math.min(submission.parallel ?? slots, slots),
      cpus: submission.description.cpus,
      slots,
      // The home folder may be that of several machines.
      seats: stateFolder('seats', hostname()),
      after: submission.after.map(({ when, job }) => ({ when, folder: job.folder ?? job.native })),
    };
  }

  async #startSupervisor(folder: string, signal: AbortSignal): Promise<void> {
    const log = join(folder, PARTS, 'supervisor.log');
    const main = fileURLToPath(new URL('supervisor-main.js', import.meta.url));
    const { ended } = await startDetached([process.execPath, main, folder], {
      cwd: folder,
      log,
      env: baseEnvironment(),
    });
    const state = { over: false };
    const atEnd = (): void => {
      state.over = true;
    };
    ended.then(atEnd, atEnd);
    // Accepted is what a supervisor has taken, not what one was started for.
    while (!existsSync(join(folder, PARTS, SUPERVISOR))) {
      signal.throwIfAborted();
      if (state.over)
        throw new ApppotError('target', 'The supervisor of local jobs ended at once.', {
          hint: `Its last words are in ${log}.`,
        });
      await delay(10);
    }
  }

  async find(id: string): Promise<ReadonlyMap<number, RemoteJob>> {
    // A supervisor may be on its way: it finds its place taken, and ends.
    const file = join(this.#settings.folder, id, PARTS, SUPERVISOR);
    await writeFile(file, CLOSED, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
      if (!['EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) throw error;
    });
    return this.#look(id);
  }

  async #look(id: string): Promise<ReadonlyMap<number, RemoteJob>> {
    const folder = join(this.#settings.folder, id);
    const found = new Map<number, RemoteJob>();
    if (['', CLOSED].includes(await readText(join(folder, PARTS, SUPERVISOR)))) return found;
    const plan = JSON.parse(await readFile(join(folder, PARTS, PLAN), 'utf8')) as LocalPlan;
    plan.indices.forEach((index, position) => {
      const job = join(folder, String(index));
      found.set(position, { native: job, folder: job });
    });
    return found;
  }

  async status(jobs: readonly RemoteJob[]): Promise<readonly Result<JobStatus>[]> {
    return Promise.all(jobs.map(async (job) => ({ value: await localStatus(job) })));
  }

  async cancel(jobs: readonly RemoteJob[]): Promise<readonly Result<void>[]> {
    return Promise.all(
      jobs.map(async (job): Promise<Result<void>> => {
        const { parts, index } = place(job);
        try {
          if (!existsSync(parts)) return { value: undefined };
          await (await open(join(parts, `cancel.${index}`), 'a', 0o600)).close();
          const pid = livingProcess(await readText(join(parts, `started.${index}`, 'process')));
          if (pid !== undefined) process.kill(pid, 'SIGTERM');
          return { value: undefined };
        } catch (error) {
          return systemCode(error) === 'ESRCH' ? { value: undefined } : { error: error as Error };
        }
      }),
    );
  }

  async list(): Promise<readonly RemoteJob[]> {
    const names = await readdir(this.#settings.folder).catch(() => []);
    const ids = names.filter((name) => /^apppot-[0-9a-f]{16}$/.test(name));
    const found = await Promise.all(ids.map((id) => this.#look(id)));
    return found.flatMap((jobs) => [...jobs.values()]);
  }

  fetch(job: RemoteJob, folder: string, options: FetchOptions): Promise<readonly string[]> {
    return fetchFolder(this.#place.transport, job.native, folder, options);
  }

  read(job: RemoteJob, stream: JobStream, options: StreamOptions): Promise<Buffer | undefined> {
    const { parts, index } = place(job);
    const file = streamFile(job.native, `${parts}/batch.${index}.log`, stream, options);
    return this.#place.transport.read(file, options);
  }

  async clean(jobs: readonly RemoteJob[]): Promise<readonly Result<void>[]> {
    const results: Result<void>[] = [];
    for (const job of jobs)
      results.push(await cleanOne(job).catch((error: unknown) => ({ error: error as Error })));
    return results;
  }

  async check({ signal }: CallOptions): Promise<readonly CheckLine[]> {
    const probe = join(this.#settings.folder, `.check-${process.pid}`);
    try {
      await this.#place.transport.makeFolder(probe, signal);
      signal.throwIfAborted();
      const space = await checkSpace(probe, this.#place.transport, signal);
      await this.#place.transport.remove(probe, signal);
      return [{ title: 'folder', ok: true, detail: this.#settings.folder }, space];
    } catch (error) {
      return [
        { title: 'folder', ok: false, detail: (error as Error).message, hint: 'Set folder in the target.' },
      ];
    }
  }

  preview(submission: Submission): Promise<ReadonlyMap<string, string>> {
    return Promise.resolve(
      previewSandbox(submission, { [`${PARTS}/${PLAN}`]: JSON.stringify(this.#plan(submission), null, 2) }),
    );
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function place(job: RemoteJob): { parts: string; index: string } {
  return { parts: join(dirname(job.native), PARTS), index: basename(job.native) };
}

async function localStatus(job: RemoteJob): Promise<JobStatus> {
  const { parts, index } = place(job);
  const started = join(parts, `started.${index}`);
  const outcome = async (): Promise<JobStatus | undefined> => {
    const found = parseOutcome(await readText(join(job.native, OUTCOME)));
    return found === undefined ? undefined : statusOf(found);
  };
  const runner = async (): Promise<number | undefined> =>
    livingProcess(await readText(join(started, 'process')));
  // The job may write an outcome of its own while it runs: the runner's end comes first.
  if ((await runner()) !== undefined) return { state: 'running' };
  const end = await outcome();
  if (end !== undefined) return end;
  if (!existsSync(parts))
    return {
      state: 'unknown',
      message: `The folder ${dirname(job.native)} is gone, nobody knows how the job ended.`,
    };
  const supervised = livingProcess(await readText(join(parts, SUPERVISOR))) !== undefined;
  if (existsSync(started)) {
    // It may just be writing down its process, or its end.
    if (supervised && !existsSync(join(started, 'process'))) return { state: 'running' };
    if ((await runner()) !== undefined) return { state: 'running' };
    return (
      (await outcome()) ?? {
        state: 'failed',
        reason: 'node-fail',
        message: 'The job was ended from outside, or the machine was restarted: it left no outcome.',
      }
    );
  }
  if (existsSync(join(parts, `cancel.${index}`)))
    return { state: 'cancelled', reason: 'cancelled', message: 'It was cancelled before it started.' };
  if (supervised) return { state: 'queued' };
  return {
    state: 'failed',
    reason: 'node-fail',
    message: 'The supervisor is gone (killed, or the machine was restarted); the job was not started.',
  };
}

/** Removes one job folder; the sandbox goes with its last one. */
async function cleanOne(job: RemoteJob): Promise<Result<void>> {
  const { parts, index } = place(job);
  await rm(job.native, { recursive: true, force: true });
  if (!existsSync(parts)) return { value: undefined };
  await appendFile(join(parts, 'cleaned'), `${index}\n`);
  const cleaned = new Set((await readText(join(parts, 'cleaned'))).trim().split('\n'));
  const plan = JSON.parse(await readText(join(parts, PLAN))) as LocalPlan;
  if (plan.indices.every((one) => cleaned.has(String(one))))
    await rm(dirname(parts), { recursive: true, force: true });
  return { value: undefined };
}

function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}
