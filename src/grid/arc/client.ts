/**
 * ARC's REST interface 1.0, as A-REX 6 speaks it.
 *
 * @see https://www.nordugrid.org/arc/arc6/tech/rest/rest.html
 */
import { Transform, pipeline, type Readable } from 'node:stream';
import { ApppotError } from '../../errors.ts';
import type { Result } from '../../job/types.ts';
import { ArcHttp, type Answer, type ArcOptions } from './http.ts';
import { parseListing, type SessionEntry } from './listing.ts';
import type { ArcSettings } from './settings.ts';
import { ARC_STATES } from './states.ts';
import { discard } from './steady.ts';

interface JobAnswer {
  readonly 'status-code'?: string;
  readonly reason?: string;
  readonly id?: string;
  readonly state?: string;
}

const JSON_TYPE = { accept: 'application/json' };
const ID = /^[A-Za-z0-9]{8,128}$/;

export class ArcClient {
  readonly http: ArcHttp;

  constructor(settings: ArcSettings, options: ArcOptions = {}) {
    this.http = new ArcHttp(settings, options);
  }

  /** URL of a job, which arcstat and arcget understand too. */
  urlOf(id: string): string {
    return `${this.http.base}/jobs/${id}`;
  }

  /** @throws ApppotError `target` for a job of another site */
  idOf(url: string): string {
    const prefix = `${this.http.base}/jobs/`;
    const id = url.startsWith(prefix) ? url.slice(prefix.length).replace(/\/$/, '') : '';
    if (ID.test(id)) return id;
    throw new ApppotError('target', `${url} is no job of ${this.http.base}.`);
  }

  /**
   * Hands in several jobs by one request, which is not repeated: when the answer is lost, nobody knows.
   *
   * @param documents job descriptions, each complete, all in one language
   * @returns identifiers, in their order
   */
  async create(documents: string, count: number, signal: AbortSignal): Promise<readonly Result<string>[]> {
    const question = {
      method: 'POST',
      path: '/jobs?action=new',
      headers: { ...JSON_TYPE, 'content-type': 'application/xml' },
      body: documents,
      signal,
    } as const;
    const answer = await this.http.askAgain(question, false);
    const jobs = await this.#jobs(answer);
    if (jobs.length !== count)
      throw new ApppotError(
        'transport',
        `${this.http.host} answers about ${jobs.length} jobs, and not ${count}.`,
      );
    return jobs.map(({ 'status-code': code, id, reason }) =>
      code === '201' && id !== undefined && ID.test(id)
        ? { value: id }
        : { error: new ApppotError('target', `${this.http.host} does not take the job: ${reason ?? code}.`) },
    );
  }

  /** All jobs of this account with their live states. One request, however many they are. */
  async states(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const path = `/jobs?state=${Object.keys(ARC_STATES).join(',')}`;
    const answer = await this.http.askAgain({ method: 'GET', path, headers: JSON_TYPE, signal });
    const jobs = await this.#jobs(answer);
    return new Map(
      jobs.flatMap(({ id, state }) => (id !== undefined && state !== undefined ? [[id, state]] : [])),
    );
  }

  /** Cancels or removes jobs. One that is not there any more is fine. */
  async act(
    action: 'kill' | 'clean',
    ids: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly Result<void>[]> {
    if (ids.length === 0) return [];
    const answer = await this.http.askAgain({
      method: 'POST',
      path: `/jobs?action=${action}`,
      headers: { ...JSON_TYPE, 'content-type': 'application/json' },
      body: JSON.stringify({ job: ids.map((id) => ({ id })) }),
      signal,
    });
    const byId = new Map((await this.#jobs(answer)).map((job) => [job.id, job]));
    return ids.map((id) => {
      const { 'status-code': code = '', reason } = byId.get(id) ?? {};
      if (/^(?:2\d\d|404)$/.test(code)) return { value: undefined };
      return {
        error: new ApppotError(
          'target',
          `${this.http.host} cannot ${action} the job: ${reason ?? 'no answer'}.`,
        ),
      };
    });
  }

  /** A file of A-REX's own about a job, such as `errors`, `failed`, `description`. `undefined` when there is none. */
  async diagnose(id: string, what: string, signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.http.askAgain({ method: 'GET', path: `/jobs/${id}/diagnose/${what}`, signal });
    const text = await this.http.text(answer);
    return answer.status === 200 ? text : undefined;
  }

  /** Files of a folder of the session. `undefined` when there is no such folder. */
  async list(id: string, folder: string, signal: AbortSignal): Promise<readonly SessionEntry[] | undefined> {
    const path = `/jobs/${id}/session/${encodePath(folder)}`;
    const answer = await this.http.askAgain({ method: 'PROPFIND', path, headers: { depth: '1' }, signal });
    const text = await this.http.text(answer);
    if (answer.status === 404) return undefined;
    if (answer.status >= 400) throw this.#unexpected(answer.status, folder);
    const own = await this.http.askAgain({ method: 'GET', path, headers: { accept: 'text/xml' }, signal });
    const ownText = await this.http.text(own);
    if (own.status >= 400) throw this.#unexpected(own.status, folder);
    return parseListing(text, ownText, this.http.host);
  }

  /** Bytes of a session file, from `first` to before `end`. `undefined` when there are none. */
  async read(
    id: string,
    name: string,
    range: { readonly first: number; readonly end?: number },
    signal: AbortSignal,
  ): Promise<Readable | undefined> {
    const last = range.end === undefined ? '' : String(range.end - 1);
    const answer = await this.http.askAgain({
      method: 'GET',
      path: `/jobs/${id}/session/${encodePath(name)}`,
      headers: { range: `bytes=${range.first}-${last}` },
      signal,
    });
    const { status, body, headers } = answer;
    const told = /^bytes (\d+)-/.exec(String(headers['content-range'] ?? ''))?.[1];
    if (status === 206 && told === String(range.first)) return this.http.stream(answer);
    // A server, or something between us, that knows no ranges gives the whole file.
    if (status === 200) return without(this.http.stream(answer), range.first);
    await discard(body);
    if (status === 404 || status === 416) return undefined;
    throw this.#unexpected(status, name);
  }

  /** Sends one input, from its byte `first` on; once. */
  async put(
    id: string,
    name: string,
    source: { readonly first: number; readonly size: number; readonly open: () => Readable },
    signal: AbortSignal,
  ): Promise<void> {
    const { first, size, open } = source;
    const { status, body } = await this.http.ask({
      method: 'PUT',
      path: `/jobs/${id}/session/${encodePath(name)}`,
      headers: {
        'content-length': String(size - first),
        'content-type': 'application/octet-stream',
        ...(first === 0 ? {} : { 'content-range': `bytes ${first}-${size - 1}/${size}` }),
      },
      body: open,
      signal,
    });
    await discard(body);
    if (status >= 300) throw this.#unexpected(status, name);
  }

  /** GLUE2 description of the site. */
  async info(signal: AbortSignal): Promise<unknown> {
    const answer = await this.http.askAgain({ method: 'GET', path: '/info', headers: JSON_TYPE, signal });
    const text = await this.http.text(answer);
    const type = String(answer.headers['content-type'] ?? '');
    if (answer.status === 200 && /json/.test(type)) return parseJson(text, this.http.host);
    throw new ApppotError(
      'target',
      `There is no computing element at ${this.http.base}: it answers ${answer.status}.`,
      {
        hint: 'Is the path of the endpoint right? It is often /arex: https://ce.example.org/arex.',
      },
    );
  }

  /** A list of one is a bare object, an empty one an empty body. */
  async #jobs(answer: Answer): Promise<readonly JobAnswer[]> {
    const text = await this.http.text(answer);
    if (answer.status >= 300) throw this.#unexpected(answer.status, text.slice(0, 200));
    if (text.trim() === '') return [];
    const data = parseJson(text, this.http.host) as { job?: JobAnswer | JobAnswer[] } | null;
    const job = data?.job;
    return job === undefined ? [] : Array.isArray(job) ? job : [job];
  }

  #unexpected(status: number, what: string): ApppotError {
    return new ApppotError('transport', `${this.http.host} answers ${status} about ${what}.`);
  }
}

/** What follows the first so many bytes. */
function without(body: Readable, count: number): Readable {
  if (count === 0) return body;
  let left = count;
  const rest = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const skipped = Math.min(left, chunk.length);
      left -= skipped;
      done(null, chunk.subarray(skipped));
    },
  });
  // Errors reach whoever reads it.
  pipeline(body, rest, () => undefined);
  return rest;
}

/** A path for a URL: each part with its own characters kept. */
function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function parseJson(text: string, host: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApppotError('transport', `${host} sends an answer that is no JSON.`, {
      cause,
      hint: 'Is the endpoint of the target that of a computing element? Its path is often /arex.',
    });
  }
}
