/** Slurm by its commands, on this machine or through ssh. */
import { ApppotError } from '../../errors.ts';
import { PARTS } from '../../job/names.ts';
import { statusOf } from '../../job/outcome.ts';
import type { JobStatus, RemoteJob, Result, Submission } from '../../job/types.ts';
import { shellQuote } from '../../process/quote.ts';
import type {
  Backend,
  CallOptions,
  CheckLine,
  FetchOptions,
  JobStream,
  StatusOptions,
  StreamOptions,
  SubmitOptions,
} from '../backend.ts';
import { DEFAULT_FOLDER } from '../site-folder.ts';
import { fetchFolder } from '../folder/fetch.ts';
import { previewSandbox } from '../folder/preview.ts';
import { sendSandbox, taskIndex, type SandboxPlace } from '../folder/send.ts';
import { streamFile } from '../folder/streams.ts';
import type { Transport } from '../transport/transport.ts';
import { checkSlurm } from './check.ts';
import { BEGUN, CLEAN, FIND, INDICES, SEND } from './remote.ts';
import { askAccounting, askFolders, askQueue } from './query.ts';
import {
  batchScript,
  chunksOf,
  DEFAULT_MAX_ARRAY,
  sbatchWords,
  type Chunk,
  type SlurmOptions,
} from './script.ts';
import { refusalHint, refusalText } from './words.ts';
import { decide, isActive, type FolderWord, type SlurmWord } from './states.ts';

/** Settings of a Slurm target. */
export interface SlurmSettings extends SlurmOptions {
  readonly name: string;
  /** Folder for sandboxes; `~/` is the home folder there. Default `~/apppot-jobs`. */
  readonly folder?: string | undefined;
  /** sbatch runs here: images are used where they lie. */
  readonly inPlace: boolean;
}

const SCRIPT = `${PARTS}/job.sbatch`;

/** So many jobs have their folders looked at while they run; of more, only those that Slurm calls ended. */
const FEW = 50;
/** Seconds that clocks may differ by without anybody seeing it. */
const CLOCKS_AGREE = 10;

/** Instead of indices, for a submission that is no array. */
const SINGLE = 'single';

/** See {@link Backend}. Native identifiers are Slurm's: `17`, `17_3`. */
export class SlurmBackend implements Backend {
  readonly name: string;
  readonly patient = true;
  readonly #settings: SlurmSettings;
  readonly #transport: Transport;

  constructor(settings: SlurmSettings, transport: Transport) {
    this.name = settings.name;
    this.#settings = settings;
    this.#transport = transport;
  }

  async submit(submission: Submission, options: SubmitOptions): Promise<readonly Result<RemoteJob>[]> {
    const place = await this.#place(options.signal);
    const sandbox = `${place.root}/${submission.id}`;
    const indices = submission.tasks.map((_task, position) => taskIndex(submission, position));
    const chunks = await this.#chunks(indices, options.signal);
    const further = {
      'job.sbatch': await batchScript(submission, sandbox, this.#settings),
      indices: isArrayJob(submission) ? indices.map((index) => `${index}\n`).join('') : `${SINGLE}\n`,
    };
    await sendSandbox(place, submission, further, options);
    const positions = new Map(indices.map((index, position) => [index, position]));
    const results: Result<RemoteJob>[] = indices.map(() => ({ error: new Error('not sent') }));
    for (const chunk of chunks) {
      const answer = await this.#send(submission, sandbox, chunk, options.signal);
      const here = chunk.indices.map((index) => [positions.get(index) ?? 0, index] as const);
      if (answer instanceof ApppotError) {
        for (const [position] of here) results[position] = { error: answer };
        continue;
      }
      await Promise.all(
        here.map(async ([position, index]) => {
          const job = remoteJob(isArrayJob(submission), answer, chunk, index, sandbox);
          results[position] = { value: job };
          await options.accepted(position, job);
        }),
      );
    }
    return results;
  }

  /** The identifier, or why sbatch refused. */
  async #send(
    submission: Submission,
    sandbox: string,
    chunk: Chunk,
    signal: AbortSignal,
  ): Promise<string | ApppotError> {
    const words = sbatchWords(submission, chunk, SCRIPT, this.#settings);
    const { code, stdout, stderr } = await this.#transport.run(
      ['sh', '-c', SEND, 'sh', sandbox, String(chunk.shift), ...words],
      { signal, timeout: 180_000 },
    );
    const id = /^(\d+)(?:;\S*)?\s*$/.exec(stdout)?.[1];
    if (code === 0 && id !== undefined) return id;
    if (code === 127)
      return new ApppotError('target', `There is no sbatch at ${this.#transport.name}.`, {
        hint: 'Set ssh and path in the target, or load the module that has it there.',
      });
    if (code === BEGUN)
      throw new ApppotError('transport', 'Another apppot has begun to send this job.', {
        hint: '"apppot jobs reconcile" finds out what became of it.',
      });
    const reason = `${stderr}${stdout}`.trim().replace(/^sbatch: (?:error: )?/gm, '');
    // Slurm may have taken it although sbatch did not hear so: then nothing is known.
    if (/timed out|Unable to contact|Connection refused|Socket|Zero Bytes/i.test(reason))
      throw new ApppotError('transport', `Slurm at ${this.#transport.name} does not answer: ${reason}`, {
        transient: true,
        hint: '"apppot jobs reconcile" finds out whether it took the job.',
      });
    const text = refusalText(reason);
    return new ApppotError('target', `sbatch refused the job: ${text}`, { hint: refusalHint(text) });
  }

  async #chunks(indices: readonly number[], signal: AbortSignal): Promise<readonly Chunk[]> {
    if ((indices.at(-1) ?? 0) < DEFAULT_MAX_ARRAY) return chunksOf(indices, DEFAULT_MAX_ARRAY);
    const { stdout } = await this.#transport.run(['scontrol', 'show', 'config'], { signal });
    const most = /^MaxArraySize\s*=\s*(\d+)/m.exec(stdout)?.[1];
    return chunksOf(indices, most === undefined ? DEFAULT_MAX_ARRAY : Number(most));
  }

  async find(id: string, { signal }: CallOptions): Promise<ReadonlyMap<number, RemoteJob>> {
    const { root } = await this.#place(signal);
    const sandbox = `${root}/${id}`;
    const { stdout: list } = await this.#transport.run(['sh', '-c', INDICES, 'sh', sandbox], { signal });
    // It is one of the last files: without it nothing was handed to sbatch, and the client is not there to do so.
    if (list.trim() === '') return new Map();
    const isArray = list.trim() !== SINGLE;
    const indices = isArray ? list.split('\n').filter(Boolean).map(Number) : [0];
    const chunks = await this.#chunks(indices, signal);
    const shifts = chunks.map(({ shift }) => String(shift));
    const { code, stdout } = await this.#transport.run(['sh', '-c', FIND, 'sh', sandbox, ...shifts], {
      signal,
      timeout: 180_000,
    });
    if (code !== 0) throw new ApppotError('transport', `Cannot look into ${sandbox}.`, { transient: true });
    const known = new Map(
      [...stdout.matchAll(/^(\d+) (\d+)/gm)].map(([, shift, native = '']) => [Number(shift), native]),
    );
    const inDoubt = /^doubt$/m.test(stdout);
    // sbatch may have been killed between Slurm's answer and the mark.
    const queue = await askQueue(this.#transport, signal);
    if ('trouble' in queue) {
      if (known.size < chunks.length)
        throw new ApppotError('transport', `Slurm does not answer: ${queue.trouble}`, { transient: true });
    } else {
      for (const job of queue.jobs) {
        const [owner, shift = '0'] = job.comment.split('+');
        if (owner === id) known.set(Number(shift), job.id.replace(/_.*/, ''));
      }
    }
    if (inDoubt && known.size < chunks.length)
      throw new ApppotError('transport', `A sbatch at ${this.#transport.name} has not ended yet.`, {
        transient: true,
        hint: 'Try again in ten minutes: by then it is certain.',
      });
    const found = new Map<number, RemoteJob>();
    for (const chunk of chunks) {
      const native = known.get(chunk.shift);
      if (native === undefined) continue;
      for (const index of chunk.indices)
        found.set(indices.indexOf(index), remoteJob(isArray, native, chunk, index, sandbox));
    }
    return found;
  }

  async status(
    jobs: readonly RemoteJob[],
    { signal, patience }: StatusOptions,
  ): Promise<readonly Result<JobStatus>[]> {
    const done = jobs.length > FEW ? new Map<string, FolderWord>() : await this.#done(jobs, signal, patience);
    const queue =
      done.size === jobs.length
        ? { jobs: [], now: Date.now() / 1000 }
        : await askQueue(this.#transport, signal);
    const words = new Map<string, SlurmWord>('jobs' in queue ? queue.jobs.map((job) => [job.id, job]) : []);
    const ended = jobs.filter(({ native }) => !done.has(native) && !isActive(words.get(native)?.state ?? ''));
    const looked = await askFolders(
      this.#transport,
      ended.map(({ folder = '' }) => folder),
      signal,
    );
    const folders = new Map(ended.map(({ native }, at) => [native, looked.words[at]]));
    const forgotten = ended
      .filter(({ native }) => !words.has(native) && folders.get(native)?.outcome === undefined)
      .map(({ native }) => native);
    if (forgotten.length > 0)
      for (const [id, word] of await askAccounting(this.#transport, forgotten, signal)) words.set(id, word);
    const ahead = 'now' in queue ? Math.round(queue.now - Date.now() / 1000) : 0;
    const clock = Math.abs(ahead) > CLOCKS_AGREE ? { ahead } : {};
    return jobs.map(({ native }) => {
      const folder = folders.get(native);
      const word = words.get(native);
      const end = done.get(native);
      if (end !== undefined) return { value: decide(isActive(word?.state ?? '') ? undefined : word, end, 0) };
      if (word === undefined && folder?.outcome === undefined && 'trouble' in queue)
        return { value: { state: 'unknown', message: queue.trouble } };
      if (folder === undefined && !isActive(word?.state ?? ''))
        return { value: { state: 'unknown', message: 'Its folder cannot be looked into.' } };
      return { value: { ...decide(word, folder ?? { started: false, gone: false }, looked.now), ...clock } };
    });
  }

  /** Jobs that left an outcome of success: that is their last act, and Slurm's word about it comes later. */
  async #done(
    jobs: readonly RemoteJob[],
    signal: AbortSignal,
    patience?: number,
  ): Promise<ReadonlyMap<string, FolderWord>> {
    const { words } = await askFolders(
      this.#transport,
      jobs.map(({ folder = '' }) => folder),
      signal,
      patience,
    );
    return new Map(
      jobs.flatMap(({ native }, at) => {
        const word = words[at];
        return word?.outcome !== undefined && statusOf(word.outcome).state === 'done' ? [[native, word]] : [];
      }),
    );
  }

  async cancel(jobs: readonly RemoteJob[], { signal }: CallOptions): Promise<readonly Result<void>[]> {
    const results: Result<void>[] = [];
    for (let at = 0; at < jobs.length; at += 500) {
      const part = jobs.slice(at, at + 500);
      const { code, stderr } = await this.#transport.run(['scancel', ...part.map(({ native }) => native)], {
        signal,
      });
      const bad = stderr
        .split('\n')
        .filter(
          (line) => line.trim() !== '' && !/Invalid job id|already completing|already completed/i.test(line),
        );
      // One bad entry does not spoil the others: Slurm names the job that it speaks of.
      for (const { native } of part) {
        const line = bad.find((one) => one.includes(native)) ?? (part.length === 1 ? bad[0] : undefined);
        results.push(
          code !== 0 && line !== undefined
            ? { error: new ApppotError('target', `Cannot cancel ${native}: ${line}`) }
            : { value: undefined },
        );
      }
      if (code !== 0 && /Unable to contact|timed out/i.test(stderr))
        throw new ApppotError('transport', `Slurm does not answer: ${stderr.trim()}`, { transient: true });
    }
    return results;
  }

  async list({ signal }: CallOptions): Promise<readonly RemoteJob[]> {
    const { root } = await this.#place(signal);
    const queue = await askQueue(this.#transport, signal);
    if ('trouble' in queue)
      throw new ApppotError('transport', `Slurm does not answer: ${queue.trouble}`, { transient: true });
    return queue.jobs.flatMap(({ id, comment }) => {
      const [, owner, shift = '0'] = /^(apppot-[0-9a-f]{16})(?:\+(\d+))?$/.exec(comment) ?? [];
      if (owner === undefined) return [];
      const index = Number(id.split('_')[1] ?? 0) + Number(shift);
      return [{ native: id, folder: `${root}/${owner}/${index}` }];
    });
  }

  fetch(job: RemoteJob, folder: string, options: FetchOptions): Promise<readonly string[]> {
    return fetchFolder(this.#transport, folderOf(job), folder, options);
  }

  read(job: RemoteJob, stream: JobStream, options: StreamOptions): Promise<Buffer | undefined> {
    const folder = folderOf(job);
    const at = folder.lastIndexOf('/');
    const log = `${folder.slice(0, at)}/${PARTS}/batch.${folder.slice(at + 1)}.log`;
    return this.#transport.read(streamFile(folder, log, stream, options), options);
  }

  async clean(jobs: readonly RemoteJob[], { signal }: CallOptions): Promise<readonly Result<void>[]> {
    const folders = jobs.map(folderOf);
    const sandboxes = [...new Set(folders.map((folder) => folder.slice(0, folder.lastIndexOf('/'))))];
    const { code, stderr } = await this.#transport.run(['sh', '-c', CLEAN, 'sh', ...sandboxes], {
      signal,
      stdin: folders.map((folder) => `${folder}\n`).join(''),
      timeout: 600_000,
    });
    const error = new ApppotError('target', `Cannot remove folders of jobs: ${stderr.trim()}`);
    return jobs.map(() => (code === 0 ? { value: undefined } : { error }));
  }

  async check({ signal }: CallOptions): Promise<readonly CheckLine[]> {
    return checkSlurm(this.#transport, (await this.#place(signal)).root, this.#settings, signal);
  }

  async preview(submission: Submission): Promise<ReadonlyMap<string, string>> {
    const { folder = DEFAULT_FOLDER } = this.#settings;
    const sandbox = `${folder}/${submission.id}`;
    const indices = submission.tasks.map((_task, position) => taskIndex(submission, position));
    const commands = chunksOf(indices, DEFAULT_MAX_ARRAY).map((chunk) =>
      ['sbatch', ...sbatchWords(submission, chunk, SCRIPT, this.#settings)]
        .map((word) => shellQuote(word))
        .join(' '),
    );
    return previewSandbox(submission, {
      command: `cd ${sandbox} && ${commands.join('\n')}\n`,
      [SCRIPT]: await batchScript(submission, sandbox, this.#settings),
    });
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  async #place(signal: AbortSignal): Promise<SandboxPlace> {
    const { folder = DEFAULT_FOLDER, inPlace } = this.#settings;
    const root = folder.startsWith('~/')
      ? `${await this.#transport.home(signal)}/${folder.slice(2)}`
      : folder;
    return { transport: this.#transport, root: root.replace(/\/+$/, ''), inPlace };
  }
}

function isArrayJob({ tasks }: Submission): boolean {
  return tasks[0]?.index !== undefined;
}

function remoteJob(isArray: boolean, id: string, chunk: Chunk, index: number, sandbox: string): RemoteJob {
  return { native: isArray ? `${id}_${index - chunk.shift}` : id, folder: `${sandbox}/${index}` };
}

function folderOf({ native, folder }: RemoteJob): string {
  if (folder !== undefined) return folder;
  throw new ApppotError('target', `The folder of job ${native} is not known.`);
}
