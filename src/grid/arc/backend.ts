/** Jobs on ARC computing elements, through their REST interface. */
import { ApppotError } from '../../errors.ts';
import { OUTCOME, SCRIPT } from '../../job/names.ts';
import { parseOutcome, statusOf } from '../../job/outcome.ts';
import type { JobStatus, RemoteJob, Result, Submission } from '../../job/types.ts';
import type {
  Backend,
  CallOptions,
  CheckLine,
  FetchOptions,
  JobStream,
  StreamOptions,
  SubmitOptions,
} from '../backend.ts';
import { previewSandbox } from '../folder/preview.ts';
import { checkArc } from './check.ts';
import { ArcClient } from './client.ts';
import { arcJob, describeArcJob, LOG, positionOf, type ArcFormat } from './description.ts';
import { downloadOutputs } from './download.ts';
import { AT_ONCE, type ArcOptions } from './http.ts';
import { inParallel } from './parallel.ts';
import type { ArcSettings } from './settings.ts';
import { stateOf, statusFromWords } from './states.ts';
import { submitArc } from './submit.ts';

const MAX_OUTCOME = 64 * 1024;
const MAX_READ = 1024 * 1024;

/** See {@link Backend}. Native identifiers are job URLs, as arcsub, arcstat and arcget know them. */
export class ArcBackend implements Backend {
  readonly name: string;
  readonly patient = false;
  readonly #settings: ArcSettings;
  readonly #client: ArcClient;

  /** @throws ApppotError `config` for an endpoint that is none */
  constructor(settings: ArcSettings, options: ArcOptions = {}) {
    this.name = settings.name;
    this.#settings = settings;
    this.#client = new ArcClient(settings, options);
  }

  async submit(submission: Submission, options: SubmitOptions): Promise<readonly Result<RemoteJob>[]> {
    return submitArc(this.#client, this.#settings, submission, options);
  }

  async find(id: string, { signal }: CallOptions): Promise<ReadonlyMap<number, RemoteJob>> {
    const states = await this.#client.states(signal);
    const ids = [...states.keys()];
    const texts = await inParallel(ids, AT_ONCE, (job) => this.#client.diagnose(job, 'description', signal));
    const found = new Map<number, RemoteJob>();
    texts.forEach((text, at) => {
      const position = positionOf(id, text ?? '');
      if (position !== undefined) found.set(position, { native: this.#client.urlOf(ids[at] ?? '') });
    });
    await this.#cancelUnsent(
      [...found.values()]
        .map(({ native }) => this.#client.idOf(native))
        .filter((job) => stateOf(states.get(job) ?? '') === 'staging'),
      signal,
    );
    return found;
  }

  /** Ends jobs whose script, the last of their inputs, has not come: they would wait for it for days. */
  async #cancelUnsent(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const lists = await inParallel(ids, AT_ONCE, (id) => this.#client.diagnose(id, 'input_status', signal));
    const unsent = ids.filter((_id, at) => !(lists[at] ?? '').split('\n').includes(`/${SCRIPT}`));
    for (const result of await this.#client.act('kill', unsent, signal))
      if ('error' in result) throw result.error;
  }

  async status(jobs: readonly RemoteJob[], { signal }: CallOptions): Promise<readonly Result<JobStatus>[]> {
    if (jobs.length === 0) return [];
    const states = await this.#client.states(signal);
    return inParallel(jobs, AT_ONCE, async ({ native }): Promise<Result<JobStatus>> => {
      try {
        const id = this.#client.idOf(native);
        return { value: await this.#statusOf(id, states.get(id), signal) };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ApppotError)) throw error;
        if (error.code !== 'transport' && error.code !== 'credentials') return { error };
        return { value: { state: 'unknown', message: error.message } };
      }
    });
  }

  async #statusOf(id: string, native: string | undefined, signal: AbortSignal): Promise<JobStatus> {
    if (native === undefined)
      return { state: 'unknown', message: `${this.#client.http.host} does not know this job any more.` };
    const state = stateOf(native);
    if (state !== 'done' && state !== 'failed' && state !== 'cancelled') return { state, native };
    const text = await this.#bytes(id, OUTCOME, 0, MAX_OUTCOME, signal);
    const outcome = text === undefined ? undefined : parseOutcome(text.toString());
    if (state === 'done' && outcome !== undefined) return { ...statusOf(outcome), native };
    // Not asked for when all is well: a thousand jobs make a thousand questions.
    const failure = state === 'done' ? '' : ((await this.#client.diagnose(id, 'failed', signal)) ?? '');
    const words = statusFromWords(native, failure);
    if (outcome === undefined || words.state === 'cancelled') return words;
    return { ...statusOf(outcome), native };
  }

  async cancel(jobs: readonly RemoteJob[], options: CallOptions): Promise<readonly Result<void>[]> {
    return this.#act('kill', jobs, options);
  }

  async clean(jobs: readonly RemoteJob[], options: CallOptions): Promise<readonly Result<void>[]> {
    return this.#act('clean', jobs, options);
  }

  async #act(
    action: 'kill' | 'clean',
    jobs: readonly RemoteJob[],
    { signal }: CallOptions,
  ): Promise<readonly Result<void>[]> {
    const ids = jobs.map(({ native }): Result<string> => {
      try {
        return { value: this.#client.idOf(native) };
      } catch (error) {
        return { error: error as Error };
      }
    });
    const good = ids.flatMap((id) => ('value' in id ? [id.value] : []));
    const answers = new Map<string, Result<void>>();
    for (let at = 0; at < good.length; at += 500) {
      const part = good.slice(at, at + 500);
      const results = await this.#client.act(action, part, signal);
      part.forEach((id, position) => answers.set(id, results[position] ?? { value: undefined }));
    }
    return ids.map((id) => ('value' in id ? (answers.get(id.value) ?? { value: undefined }) : id));
  }

  async list({ signal }: CallOptions): Promise<readonly RemoteJob[]> {
    const states = await this.#client.states(signal);
    return [...states.keys()].map((id) => ({ native: this.#client.urlOf(id) }));
  }

  async fetch(job: RemoteJob, folder: string, options: FetchOptions): Promise<readonly string[]> {
    return downloadOutputs(this.#client, this.#client.idOf(job.native), folder, options);
  }

  async read(job: RemoteJob, stream: JobStream, options: StreamOptions): Promise<Buffer | undefined> {
    const { offset, signal } = options;
    const id = this.#client.idOf(job.native);
    if (stream === 'target') {
      const own = await this.#bytes(id, LOG, 0, MAX_READ, signal);
      const errors = await this.#client.diagnose(id, 'errors', signal);
      if (own === undefined && errors === undefined) return undefined;
      return Buffer.concat([own ?? Buffer.alloc(0), Buffer.from(errors ?? '')]).subarray(offset);
    }
    const name = { stdout: options.stdout, stderr: options.stderr, console: '.apppot/task/console.log' }[
      stream
    ];
    return this.#bytes(id, name, offset, MAX_READ, signal);
  }

  /** @returns undefined when there is no such file; empty at its end */
  async #bytes(
    id: string,
    name: string,
    first: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const body = await this.#client.read(id, name, { first, end: first + limit }, signal);
    if (body === undefined) return first === 0 ? undefined : Buffer.alloc(0);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size >= limit) break;
    }
    return Buffer.concat(chunks).subarray(0, limit);
  }

  check({ signal }: CallOptions): Promise<readonly CheckLine[]> {
    return checkArc(this.#client, this.#settings, signal);
  }

  /** @param format `adl` (what is sent) or `xrsl` (what arcsub takes, too) */
  async preview(submission: Submission, format = 'adl'): Promise<ReadonlyMap<string, string>> {
    if (format !== 'adl' && format !== 'xrsl')
      throw new ApppotError('usage', `A job for ARC is shown as adl or xrsl, not as ${format}.`);
    const kind: ArcFormat = format;
    const texts = await inParallel(submission.tasks, AT_ONCE, async ({ index }, position) => {
      const job = arcJob(submission, position, this.#settings);
      const name = index === undefined ? `job.${kind}` : `job-${index}.${kind}`;
      return [name, await describeArcJob(job, kind, { localPaths: true })] as const;
    });
    return previewSandbox(submission, Object.fromEntries(texts));
  }

  close(): Promise<void> {
    return this.#client.http.close();
  }
}
