/**
 * Requests to the REST interface of A-REX, version 1.0 (NorduGrid ARC 6 and later, "ARC REST interface specification").
 */
import { Readable } from 'node:stream';
import { XMLParser } from 'fast-xml-parser';
import { Agent, errors, request, type Dispatcher } from 'undici';
import { ApppotError } from '../../errors.ts';
import type { ArcCredentials } from './credentials.ts';

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PROPFIND';

export interface ArcRequest {
  readonly signal: AbortSignal;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  /** HTTP codes that are answers; others throw. */
  readonly okCodes?: readonly number[];
}

export interface ArcAnswer {
  readonly code: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Dispatcher.ResponseData['body'];
}

/** An answer that is to be held in memory ends here: no honest one is as long. */
const MAX_TEXT = 64 << 20;
const xml = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  removeNSPrefix: true,
  htmlEntities: true,
});

/** One computing element, one identity. */
export class ArcClient {
  readonly #base: URL;
  readonly #agent: Agent;
  readonly #token: string | undefined;

  /**
   * @param endpoint as sites publish it: https://HOST:443/arex
   * @throws ApppotError `target` for an endpoint that is no https URL
   */
  constructor(endpoint: string, credentials: ArcCredentials) {
    this.#base = new URL(`${endpoint.replace(/\/+$/, '')}/rest/1.0/`);
    if (this.#base.protocol !== 'https:')
      throw new ApppotError('target', `The endpoint ${endpoint} is not an https URL.`, {
        hint: 'A computing element is reached as https://HOST:PORT/arex.',
      });
    const { cert, key, ca, token } = credentials;
    this.#token = token;
    this.#agent = new Agent({
      connections: 4,
      headersTimeout: 120_000,
      bodyTimeout: 120_000,
      connect: {
        timeout: 20_000,
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        ...(ca === undefined ? {} : { ca: [...ca] }),
      },
    });
  }

  /** URL of a path below the interface, each part encoded. */
  url(...parts: readonly string[]): URL {
    const path = parts.flatMap((part) => part.split('/')).map(encodeURIComponent);
    return new URL(path.join('/'), this.#base);
  }

  /**
   * @throws ApppotError `transport` (nobody can tell what happened), `credentials`, or `target` (refused)
   */
  async send(method: Method, path: readonly string[], options: ArcRequest): Promise<ArcAnswer> {
    const url = this.url(...path);
    for (const [name, value] of Object.entries(options.query ?? {})) url.searchParams.set(name, value);
    let answer: Dispatcher.ResponseData;
    try {
      answer = await request(url, {
        // PROPFIND is a method of WebDAV (RFC 4918), which undici passes on and does not name.
        method: method as Dispatcher.HttpMethod,
        dispatcher: this.#agent,
        signal: options.signal,
        headers: {
          accept: 'application/json',
          ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
          ...options.headers,
        },
        ...(options.body === undefined
          ? {}
          : {
              body:
                typeof options.body === 'object' && Symbol.asyncIterator in options.body
                  ? Readable.from(options.body)
                  : options.body,
            }),
      });
    } catch (error) {
      throw this.#lost(error, options.signal);
    }
    const { statusCode: code, headers, body } = answer;
    if (code < 300 || options.okCodes?.includes(code) === true) return { code, headers, body };
    throw this.#refused(code, (await this.text({ code, headers, body }, 4096).catch(() => '')).trim(), url);
  }

  /** The body as text, up to a limit. */
  async text(answer: ArcAnswer, limit = MAX_TEXT): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        size += chunk.length;
        if (size > limit) {
          answer.body.destroy();
          throw new ApppotError('target', `${this.#base.host} answers without end.`);
        }
      }
    } catch (error) {
      if (error instanceof ApppotError) throw error;
      throw this.#lost(error);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  /**
   * The entries of `{"job": …}`, which the server makes from XML: none is an empty body, one is no array.
   */
  async jobs(answer: ArcAnswer): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const text = await this.text(answer);
    if (text.trim() === '') return [];
    let data: { job?: unknown };
    try {
      data = JSON.parse(text) as { job?: unknown };
    } catch (error) {
      throw new ApppotError('target', `${this.#base.host} answers with something that is no JSON.`, {
        cause: error,
        hint: 'Is the endpoint the one of a computing element (https://HOST:PORT/arex)?',
      });
    }
    const list: unknown[] = data.job === undefined ? [] : Array.isArray(data.job) ? data.job : [data.job];
    return list.filter(
      (entry): entry is Record<string, unknown> => typeof entry === 'object' && entry !== null,
    );
  }

  async xml(answer: ArcAnswer): Promise<Readonly<Record<string, unknown>>> {
    const text = await this.text(answer);
    try {
      return xml.parse(text) as Record<string, unknown>;
    } catch (error) {
      throw new ApppotError('target', `${this.#base.host} answers with something that is no XML.`, {
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #lost(error: unknown, signal?: AbortSignal): Error {
    if (signal?.aborted === true) return signal.reason as Error;
    const code = errorCode(error);
    const host = this.#base.host;
    if (/^(?:CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT)/.test(code))
      return new ApppotError('credentials', `The certificate of ${host} cannot be verified (${code}).`, {
        cause: error,
        hint: 'Set ca_dir to the folder with the authorities of your grid.',
      });
    if (/^ERR_(?:SSL|OSSL)/.test(code))
      return new ApppotError('credentials', `${host} refuses the certificate (${code}).`, {
        cause: error,
        hint: 'Is it known there, and not expired? "apppot targets check" looks at it.',
      });
    return new ApppotError(
      'transport',
      `${host} cannot be reached (${code === '' ? String(error) : code}).`,
      {
        cause: error,
        transient: true,
        hint:
          code === 'UND_ERR_SOCKET'
            ? 'It hung up: try again; if it always does, it may not know the authority of your certificate.'
            : 'Check the network and the endpoint; the jobs there are not affected.',
      },
    );
  }

  #refused(code: number, words: string, url: URL): ApppotError {
    const said =
      /<title>([^<]*)/i.exec(words)?.[1] ??
      words
        .replace(/<[^>]*>/g, ' ')
        .slice(0, 200)
        .trim();
    const sentence = `${url.host} answers ${code}${said === '' ? '' : ` (${said})`} to ${url.pathname}`;
    if (code === 401 || code === 403)
      return new ApppotError('credentials', `${sentence}.`, {
        hint: 'The site does not let you in: is your certificate or token registered there?',
      });
    if (code >= 500 || code === 408 || code === 429)
      return new ApppotError('transport', `${sentence}.`, { transient: true, hint: 'Try again later.' });
    return new ApppotError(code === 404 ? 'not-found' : 'target', `${sentence}.`);
  }
}

function errorCode(error: unknown): string {
  if (error instanceof errors.UndiciError && error.cause !== undefined && error.code === 'UND_ERR')
    return errorCode(error.cause);
  if (error instanceof AggregateError && error.errors.length > 0) return errorCode(error.errors[0]);
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
