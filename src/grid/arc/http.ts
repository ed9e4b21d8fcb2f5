/** Requests to one site: TLS verified, our identity attached, errors in words. */
import { statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request, type Dispatcher } from 'undici';
import { ApppotError } from '../../errors.ts';
import type { Ask } from '../transport/ssh-auth.ts';
import { loadAuthorities } from './authorities.ts';
import { credentialFiles, loadCredentials, type Credentials } from './credentials.ts';
import { BusyError, connectionError, pauseAfter, redirected, refusal, retryAfter } from './refusals.ts';
import type { ArcSettings } from './settings.ts';
import { discard, PATIENCE, steady, type Patience } from './steady.ts';

/** Requests at once to one site. */
export const AT_ONCE = 8;
/** Answers that are read whole: lists of many thousand jobs fit, an endless body does not. */
const MAX_TEXT = 64 * 1024 * 1024;

export interface Question {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PROPFIND';
  readonly path: string;
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  /** A function makes it anew for each attempt. */
  readonly body?: string | Buffer | (() => Readable);
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Dispatcher.ResponseData['body'];
}

/** What a connection may need of the one who makes it. */
export interface ArcOptions {
  /** Asks the person for the passphrase of a key; undefined where there is no terminal. */
  readonly ask?: Ask | undefined;
  readonly patience?: Patience | undefined;
}

/** Connections to a site. Credentials that were renewed on disk are used from then on. */
export class ArcHttp {
  readonly base: string;
  readonly host: string;
  readonly #settings: ArcSettings;
  readonly #ask: Ask | undefined;
  readonly #patience: Patience;
  #agent: Agent | undefined;
  #credentials: Credentials | undefined;
  #loading: Promise<Credentials> | undefined;
  #stamp = '';

  /** @throws ApppotError `config` for an endpoint that is no https URL */
  constructor(settings: ArcSettings, { ask, patience = PATIENCE }: ArcOptions = {}) {
    this.#settings = settings;
    this.#ask = ask;
    this.#patience = patience;
    const url = parseEndpoint(settings.endpoint);
    // Some copy the address of the interface itself.
    this.base = `${url.origin}${url.pathname.replace(/\/+$/, '').replace(/\/rest\/1\.0$/, '')}/rest/1.0`;
    this.host = url.host;
  }

  /** Who we are to the site now. @throws ApppotError `credentials`, `interrupted` */
  async credentials(): Promise<Credentials> {
    const stamp = credentialFiles(this.#settings).map(stampOf).join();
    const known = this.#credentials;
    const isOver = known?.expires !== undefined && known.expires <= new Date();
    if (known !== undefined && stamp === this.#stamp && stamp !== '' && !isOver) return known;
    // Many requests want it at once, and a passphrase is asked for once.
    this.#loading ??= this.#load(stamp).finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #load(stamp: string): Promise<Credentials> {
    const known = this.#credentials;
    const fresh = await loadCredentials(this.#settings, this.#ask);
    if (fresh.cert !== known?.cert || fresh.key !== known?.key) this.#dropAgent();
    this.#stamp = stamp;
    this.#credentials = fresh;
    return fresh;
  }

  /**
   * Asks once. Answers of 401, 403, 429, from 500 on and such that lead elsewhere are thrown, others returned.
   *
   * @throws ApppotError `transport`, `credentials`
   */
  async ask({ method, path, signal, headers = {}, body }: Question): Promise<Answer> {
    signal.throwIfAborted();
    const credentials = await this.credentials();
    signal.throwIfAborted();
    this.#agent ??= this.#connect(credentials);
    let answer: Dispatcher.ResponseData;
    try {
      answer = await request(this.base + path, {
        dispatcher: this.#agent,
        method,
        signal,
        headers: {
          ...headers,
          ...(credentials.token === undefined ? {} : { authorization: `Bearer ${credentials.token}` }),
        },
        body: typeof body === 'function' ? body() : (body ?? null),
      });
    } catch (cause) {
      signal.throwIfAborted();
      throw connectionError(this.host, cause, credentials);
    }
    const { statusCode: status, headers: told, body: page } = answer;
    if (status >= 300 && status < 400) {
      await discard(page);
      throw redirected(this.host, told['location']);
    }
    if (![401, 403, 429].includes(status) && status < 500) return { status, headers: told, body: page };
    const words = await this.#read(page, 2000).catch(() => '');
    const wait = status === 429 || status === 503 ? retryAfter(told['retry-after']) : undefined;
    if (status === 429 || wait !== undefined) throw new BusyError(this.host, status, wait ?? 2);
    throw refusal(this.host, status, words, credentials);
  }

  /**
   * {@link ask}, three times when that may help.
   *
   * @param mayRepeat false for what must not be done twice: then only after the site has said that it did nothing
   */
  async askAgain(question: Question, mayRepeat = true): Promise<Answer> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.ask(question);
      } catch (error) {
        if (attempt === 2 || !(error instanceof ApppotError && error.transient)) throw error;
        if (!mayRepeat && !(error instanceof BusyError && error.status === 429)) throw error;
        await delay(pauseAfter(error, attempt), undefined, { signal: question.signal });
      }
    }
  }

  /** The text of an answer, which has to be one that ends. */
  text(answer: Answer): Promise<string> {
    return this.#read(answer.body, MAX_TEXT);
  }

  /** The bytes of an answer, which have to come at some pace. */
  stream({ body }: Answer): Readable {
    return steady(body, this.host, this.#patience);
  }

  async #read(body: Answer['body'], limit: number): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of steady(body, this.host, this.#patience)) {
        chunks.push(chunk as Buffer);
        size += (chunk as Buffer).length;
        // Leaving the loop closes the connection.
        if (size > limit) break;
      }
    } catch (cause) {
      throw connectionError(this.host, cause);
    }
    if (size <= limit) return Buffer.concat(chunks).toString();
    throw new ApppotError('transport', `${this.host} sends an answer without end.`, {
      hint: 'Is the endpoint of the target that of a computing element? Jobs there are not touched.',
    });
  }

  async close(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    await agent?.destroy();
  }

  #connect(credentials: Credentials): Agent {
    return new Agent({
      connections: AT_ONCE,
      pipelining: 1,
      headersTimeout: this.#patience.silence,
      bodyTimeout: this.#patience.silence,
      // A-REX closes connections that idle for long.
      keepAliveTimeout: 4_000,
      connect: {
        timeout: 20_000,
        ca: [...loadAuthorities(this.#settings.caDir)],
        rejectUnauthorized: true,
        ...(credentials.cert === undefined ? {} : { cert: credentials.cert }),
        ...(credentials.key === undefined ? {} : { key: credentials.key }),
      },
    });
  }

  /** Requests of others that are on their way end as they began. */
  #dropAgent(): void {
    void this.#agent?.close().catch(() => undefined);
    this.#agent = undefined;
  }
}

function parseEndpoint(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url?.protocol === 'https:' && url.username === '') return url;
  throw new ApppotError('config', `"${endpoint}" is no endpoint of a computing element.`, {
    hint: 'It is an https URL such as https://ce.example.org/arex.',
  });
}

function stampOf(file: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(file);
    return `${mtimeMs}:${size}:${ino}`;
  } catch {
    return 'none';
  }
}
