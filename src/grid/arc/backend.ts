/** Jobs on an ARC computing element, over A-REX's REST interface. */
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { ApppotError } from '../../errors.ts';
import { OUTCOME } from '../../job/names.ts';
import { parseOutcome, statusOf } from '../../job/outcome.ts';
import type { JobStatus, RemoteJob, Result, SandboxFile, Submission } from '../../job/types.ts';
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
import { checkArc } from './check.ts';
import { ArcClient } from './client.ts';
import { loadCredentials, type ArcCredentials, type ArcCredentialSources } from './credentials.ts';
import { describeAdl, describeXrsl, LOG, parseTag, type ArcInput, type ArcNeeds } from './describe.ts';
import { inParallel } from './parallel.ts';
import { ArcSessions } from './session.ts';
import { findStaged } from './staged.ts';
import { ENDED, failureOf, stateOf } from './status.ts';

/** Settings of an ARC target. */
export interface ArcSettings extends ArcCredentialSources {
  readonly name: string;
  /** https://HOST:PORT/arex */
  readonly endpoint: string;
  readonly queue?: string | undefined;
  readonly rte?: string | undefined;
  /** Web space for images and runtimes (see staged.ts). */
  readonly baseUrl?: string | undefined;
  readonly memoryFactor?: number | undefined;
  /** MiB beside the guest's memory. */
  readonly memoryOverhead?: number | undefined;
}

/** The supervisor, the network and the page tables of a guest, MiB. */
const OVERHEAD = 128;
/** Jobs in one request. */
const BULK = 100;
/** Smaller files are not worth a question whether the site has them. */
const WORTH_STAGING = 65_536;

interface Connection {
  readonly credentials: ArcCredentials;
  readonly client: ArcClient;
  readonly sessions: ArcSessions;
}

/** See {@link Backend}. Native identifiers are job URLs, as ARC's own clients print them. */
export class ArcBackend implements Backend {
  readonly name: string;
  readonly #settings: ArcSettings;
  #connection: Promise<Connection> | undefined;

  constructor(settings: ArcSettings) {
    this.name = settings.name;
    this.#settings = settings;
  }

  async submit(submission: Submission, options: SubmitOptions): Promise<readonly Result<RemoteJob>[]> {
    if (submission.after.length > 0)
      throw new ApppotError('target', 'A computing element of ARC knows no dependencies between jobs.', {
        hint: 'Wait for the first job ("apppot jobs wait"), then submit the next one.',
      });
    const { credentials } = await this.#connect();
    warnOfExpiry(credentials, submission, options);
    const inputs = await this.#inputs(submission, options);
    const results: Result<RemoteJob>[] = [];
    for (let first = 0; first < submission.tasks.length; first += BULK) {
      const positions = submission.tasks.slice(first, first + BULK).map((_task, at) => first + at);
      results.push(...(await this.#submitBulk(submission, positions, inputs, options)));
    }
    return results;
  }

  /** How each file of a submission comes to the site, by name: as an upload, or from a URL. */
  async #inputs(
    submission: Submission,
    options: SubmitOptions,
  ): Promise<ReadonlyMap<SandboxFile, string | undefined>> {
    const urls = new Map<SandboxFile, string | undefined>();
    const { baseUrl } = this.#settings;
    for (const file of [...submission.files, ...submission.taskFiles.flat()]) {
      if ('site' in file)
        throw new ApppotError('target', `A computing element does not hand out its own file ${file.site}.`, {
          hint: "Use the site's runtime environment (rte = …), or a URL.",
        });
      if ('url' in file) urls.set(file, file.url);
      else if ('file' in file && baseUrl !== undefined) {
        const { size } = await stat(file.file);
        if (size >= WORTH_STAGING) urls.set(file, await findStaged(baseUrl, file.file, size, options.signal));
      }
    }
    const large = submission.files.filter(
      (file) => 'file' in file && file.name.endsWith('/apppot.img') && urls.get(file) === undefined,
    );
    if (large.length > 0)
      options.progress.note(
        'the whole image travels with every job: put it into web space once ("apppot targets stage"), and only changes are sent',
      );
    return urls;
  }

  async #submitBulk(
    submission: Submission,
    positions: readonly number[],
    urls: ReadonlyMap<SandboxFile, string | undefined>,
    options: SubmitOptions,
  ): Promise<readonly Result<RemoteJob>[]> {
    const { client } = await this.#connect();
    const descriptions = await Promise.all(
      positions.map((position) =>
        describeAdl(submission, position, arcInputs(submission, position, urls), this.#needs(submission)),
      ),
    );
    const bare = descriptions.map((text) => text.replace(/^<\?xml[^>]*\?>\s*/, ''));
    const answer = await client.send('POST', ['jobs'], {
      signal: options.signal,
      query: { action: 'new' },
      headers: { 'content-type': 'application/xml' },
      body:
        bare.length === 1 ? (bare[0] ?? '') : `<ActivityDescriptions>${bare.join('')}</ActivityDescriptions>`,
    });
    const entries = await client.jobs(answer);
    const jobs = positions.map((position, at): Result<RemoteJob> => {
      const entry = entries[at];
      const id = entry?.['id'];
      if (entry?.['status-code'] === '201' && typeof id === 'string' && /^[A-Za-z0-9]+$/.test(id))
        return { value: { native: client.url('jobs', id).href } };
      const reason = typeof entry?.['reason'] === 'string' ? entry['reason'] : 'no reason given';
      return { error: new ApppotError('target', `${this.name} refuses job ${position + 1}: ${reason}.`) };
    });
    for (const [at, job] of jobs.entries())
      if ('value' in job) await options.accepted(positions[at] ?? 0, job.value);
    return options.progress.step(`Sending ${submission.description.name} to ${this.name}`, async (step) => {
      let done = 0;
      return inParallel(jobs, 4, async (job, at) => {
        if ('error' in job) return job;
        try {
          await this.#upload(submission, positions[at] ?? 0, job.value, urls, options);
        } catch (error) {
          options.signal.throwIfAborted();
          // Without its inputs it would wait for them for days.
          await this.cancel([job.value], options).catch(() => undefined);
          return { error: error as Error };
        }
        done += 1;
        step.update(`${done} of ${jobs.length} jobs`);
        return job;
      });
    });
  }

  async #upload(
    submission: Submission,
    position: number,
    job: RemoteJob,
    urls: ReadonlyMap<SandboxFile, string | undefined>,
    options: SubmitOptions,
  ): Promise<void> {
    const { sessions } = await this.#connect();
    for (const file of [...submission.files, ...(submission.taskFiles[position] ?? [])]) {
      if (urls.get(file) !== undefined || 'url' in file || 'site' in file) continue;
      const source = 'content' in file ? file.content : file.file;
      await persist(options.signal, () => sessions.put(idOf(job), file.name, source, options));
    }
  }

  #needs({ description }: Submission): ArcNeeds {
    const { queue, rte, memoryFactor = 1, memoryOverhead = OVERHEAD } = this.#settings;
    const memory = Math.ceil(description.memory * memoryFactor) + memoryOverhead;
    return { queue: description.partition ?? queue, rte, memory };
  }

  async find(id: string, { signal }: CallOptions): Promise<ReadonlyMap<number, RemoteJob>> {
    const { client } = await this.#connect();
    const found = new Map<number, RemoteJob>();
    const jobs = await this.list({ signal });
    await inParallel(jobs, 4, async (job) => {
      const answer = await client.send('GET', ['jobs', idOf(job), 'diagnose', 'description'], {
        signal,
        okCodes: [404],
      });
      const tag = parseTag(await client.text(answer, 1 << 20));
      if (tag?.id === id) found.set(tag.position, job);
    });
    return found;
  }

  async status(jobs: readonly RemoteJob[], { signal }: CallOptions): Promise<readonly Result<JobStatus>[]> {
    const { client } = await this.#connect();
    // What has ended is told at once; the state of each job lags behind by up to a minute.
    const ended = new Map<string, string>();
    const answer = await client.send('GET', ['jobs'], { signal, query: { state: ENDED.join(',') } });
    for (const entry of await client.jobs(answer)) ended.set(String(entry['id']), String(entry['state']));
    const words = new Map<string, string>(
      jobs.flatMap((job) => {
        const word = ended.get(idOf(job));
        return word === undefined ? [] : [[idOf(job), word] as const];
      }),
    );
    const open = jobs.map(idOf).filter((id) => !words.has(id));
    for (let first = 0; first < open.length; first += BULK)
      for (const entry of await this.#bulk('status', open.slice(first, first + BULK), signal))
        words.set(String(entry['id']), entry['status-code'] === '200' ? String(entry['state']) : 'GONE');
    return inParallel(jobs, 4, async (job): Promise<Result<JobStatus>> => {
      const word = words.get(idOf(job)) ?? 'GONE';
      if (word === 'GONE' || word === 'WIPED')
        return {
          value: { state: 'unknown', native: word, message: `${this.name} does not know this job any more.` },
        };
      const state = stateOf(word);
      if (!ENDED.includes(word.toUpperCase())) return { value: { state, native: word } };
      try {
        return { value: { ...(await this.#end(job, word, signal)), native: word } };
      } catch (error) {
        signal.throwIfAborted();
        return { error: error as Error };
      }
    });
  }

  /** How a job ended: its own outcome tells it best, else A-REX's sentence. */
  async #end(job: RemoteJob, word: string, signal: AbortSignal): Promise<JobStatus> {
    const { client, sessions } = await this.#connect();
    if (word === 'KILLED') return { state: 'cancelled' };
    const answer = await client.send('GET', ['jobs', idOf(job), 'diagnose', 'failed'], {
      signal,
      okCodes: [404],
    });
    const said = answer.code === 404 ? '' : await client.text(answer, 1 << 16);
    if (answer.code === 404) await answer.body.dump().catch(() => undefined);
    const failure = failureOf(said);
    if (failure.state === 'cancelled') return failure;
    const text = await sessions.read(idOf(job), OUTCOME, 0, signal);
    const outcome = text === undefined ? undefined : parseOutcome(text.toString());
    if (outcome !== undefined) return statusOf(outcome);
    return word === 'FINISHED' ? { state: 'done', exitCode: 0 } : failure;
  }

  async #bulk(
    action: 'status' | 'kill' | 'clean',
    ids: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const { client } = await this.#connect();
    const answer = await client.send('POST', ['jobs'], {
      signal,
      query: { action },
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ job: ids.map((id) => ({ id })) }),
    });
    return client.jobs(answer);
  }

  cancel(jobs: readonly RemoteJob[], options: CallOptions): Promise<readonly Result<void>[]> {
    return this.#each('kill', jobs, options);
  }

  clean(jobs: readonly RemoteJob[], options: CallOptions): Promise<readonly Result<void>[]> {
    return this.#each('clean', jobs, options);
  }

  async #each(
    action: 'kill' | 'clean',
    jobs: readonly RemoteJob[],
    { signal }: CallOptions,
  ): Promise<readonly Result<void>[]> {
    const answers = new Map<string, Readonly<Record<string, unknown>>>();
    for (let first = 0; first < jobs.length; first += BULK)
      for (const entry of await this.#bulk(action, jobs.slice(first, first + BULK).map(idOf), signal))
        answers.set(String(entry['id']), entry);
    return jobs.map((job): Result<void> => {
      const entry = answers.get(idOf(job));
      // 404: gone already, which is what was wanted.
      if (['200', '202', '404'].includes(String(entry?.['status-code']))) return { value: undefined };
      const reason = typeof entry?.['reason'] === 'string' ? entry['reason'] : 'no reason given';
      return {
        error: new ApppotError('target', `${this.name} does not ${action} ${job.native}: ${reason}.`),
      };
    });
  }

  async list({ signal }: CallOptions): Promise<readonly RemoteJob[]> {
    const { client } = await this.#connect();
    const entries = await client.jobs(await client.send('GET', ['jobs'], { signal }));
    return entries.flatMap(({ id }) =>
      typeof id === 'string' && /^[A-Za-z0-9]+$/.test(id) ? [{ native: client.url('jobs', id).href }] : [],
    );
  }

  async fetch(job: RemoteJob, folder: string, options: FetchOptions): Promise<readonly string[]> {
    const { sessions } = await this.#connect();
    return persist(options.signal, () => fetchFolder(sessions, idOf(job), folder, options));
  }

  async read(job: RemoteJob, stream: JobStream, options: StreamOptions): Promise<Buffer | undefined> {
    const { sessions } = await this.#connect();
    const files = {
      stdout: options.stdout,
      stderr: options.stderr,
      console: '.apppot/task/console.log',
      target: LOG,
    };
    return sessions.read(idOf(job), files[stream], options.offset, options.signal);
  }

  async check({ signal }: CallOptions): Promise<readonly CheckLine[]> {
    return checkArc(this.#settings, () => this.#connect(), signal);
  }

  async preview(submission: Submission, format = 'adl'): Promise<ReadonlyMap<string, string>> {
    if (format !== 'adl' && format !== 'xrsl')
      throw new ApppotError('usage', `There is no format "${format}".`, { hint: 'ARC has adl and xrsl.' });
    const describe = format === 'adl' ? describeAdl : describeXrsl;
    const descriptions = await Promise.all(
      submission.tasks.map(async (task, position): Promise<[string, string]> => {
        const name = task.index === undefined ? `job.${format}` : `job.${task.index}.${format}`;
        return [
          name,
          await describe(
            submission,
            position,
            arcInputs(submission, position, new Map()),
            this.#needs(submission),
          ),
        ];
      }),
    );
    return previewSandbox(submission, Object.fromEntries(descriptions));
  }

  async close(): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined);
    this.#connection = undefined;
    await connection?.client.close();
  }

  #connect(): Promise<Connection> {
    this.#connection ??= (async () => {
      const credentials = await loadCredentials(this.#settings);
      const client = new ArcClient(this.#settings.endpoint, credentials);
      return { credentials, client, sessions: new ArcSessions(this.name, client) };
    })();
    // A failure is not for ever: the file may be there the next time.
    this.#connection.catch(() => (this.#connection = undefined));
    return this.#connection;
  }
}

/** The identifier in a job URL; also of jobs that ARC's own clients submitted. */
function idOf(job: RemoteJob): string {
  const id = /\/([A-Za-z0-9]+)\/?$/.exec(job.native)?.[1];
  if (id === undefined)
    throw new ApppotError('target', `${job.native} is no job of an ARC computing element.`);
  return id;
}

function arcInputs(
  submission: Submission,
  position: number,
  urls: ReadonlyMap<SandboxFile, string | undefined>,
): readonly ArcInput[] {
  return [...submission.files, ...(submission.taskFiles[position] ?? [])].map((file) => ({
    name: file.name,
    url: urls.get(file) ?? ('url' in file ? file.url : undefined),
    executable: file.executable,
  }));
}

/** Tells before, and not after, that a job will outlive the credentials. */
function warnOfExpiry(
  { expires, origin }: ArcCredentials,
  submission: Submission,
  { progress }: SubmitOptions,
): void {
  if (expires === undefined) return;
  const left = Math.floor((expires.getTime() - Date.now()) / 1000);
  const needed = Math.max(submission.description.time ?? 0, 3600);
  if (left < needed)
    progress.note(
      `${origin} is valid for ${Math.floor(left / 60)} minutes only, less than the job may take: results can be fetched after a renewal`,
    );
}

/** Repeats what a lost connection interrupted, three times. */
async function persist<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApppotError) || !error.transient || attempt === 4) throw error;
      await delay(500 * 2 ** attempt, undefined, { signal });
    }
  }
}
