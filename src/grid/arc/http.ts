/** Requests to one site: TLS verified, our identity attached, errors in words. */
import { statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request, type Dispatcher } from 'undici';
import { ApppotError, systemCode } from '../../errors.ts';
import { loadAuthorities } from './authorities.ts';
import { credentialFiles, loadCredentials, type Credentials } from './credentials.ts';
import type { ArcSettings } from './settings.ts';

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

/** Connections to a site. Credentials that were renewed on disk are used from then on. */
export class ArcHttp {
  readonly base: string;
  readonly host: string;
  readonly #settings: ArcSettings;
  #agent: Agent | undefined;
  #credentials: Credentials | undefined;
  #stamp = '';

  /** @throws ApppotError `config` for an endpoint that is no https URL */
  constructor(settings: ArcSettings) {
    this.#settings = settings;
    const url = parseEndpoint(settings.endpoint);
    this.base = `${url.origin}${url.pathname.replace(/\/+$/, '')}/rest/1.0`;
    this.host = url.host;
  }

  /** Who we are to the site now. @throws ApppotError `credentials` */
  credentials(): Credentials {
    const stamp = credentialFiles(this.#settings).map(stampOf).join();
    const known = this.#credentials;
    const isOver = known?.expires !== undefined && known.expires <= new Date();
    if (known !== undefined && stamp === this.#stamp && stamp !== '' && !isOver) return known;
    const fresh = loadCredentials(this.#settings);
    if (fresh.cert !== known?.cert || fresh.key !== known?.key) this.#dropAgent();
    this.#stamp = stamp;
    this.#credentials = fresh;
    return fresh;
  }

  /**
   * Asks once. Answers of 401, 403 and from 500 on are thrown, others returned.
   *
   * @throws ApppotError `transport`, `credentials`
   */
  async ask({ method, path, signal, headers = {}, body }: Question): Promise<Answer> {
    signal.throwIfAborted();
    const credentials = this.credentials();
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
      throw connectionError(this.host, cause);
    }
    if (answer.statusCode === 401 || answer.statusCode === 403 || answer.statusCode >= 500) {
      const words = await readText(answer.body, 2000, this.host).catch(() => '');
      throw refusal(this.host, answer.statusCode, plain(words), credentials);
    }
    return { status: answer.statusCode, headers: answer.headers, body: answer.body };
  }

  /** {@link ask}, three times when that may help: only for what may be repeated. */
  async askAgain(question: Question): Promise<Answer> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.ask(question);
      } catch (error) {
        if (attempt === 2 || !(error instanceof ApppotError && error.transient)) throw error;
        await delay(300 * 3 ** attempt, undefined, { signal: question.signal });
      }
    }
  }

  /** The text of an answer, which has to be one that ends. */
  text(answer: Answer): Promise<string> {
    return readText(answer.body, MAX_TEXT, this.host);
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
      headersTimeout: 120_000,
      bodyTimeout: 120_000,
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

async function readText(body: Answer['body'], limit: number, host: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      // Leaving the loop closes the connection.
      if (size > limit) break;
    }
  } catch (cause) {
    throw connectionError(host, cause);
  }
  if (size <= limit) return Buffer.concat(chunks).toString();
  throw new ApppotError('transport', `${host} sends an answer without end.`);
}

/** Words of an error page. */
function plain(page: string): string {
  const text = page.replace(/<[^>]*>/g, ' ').replace(/[\p{Cc}\s]+/gu, ' ');
  return text.trim().slice(0, 200);
}

function refusal(host: string, status: number, words: string, credentials: Credentials): ApppotError {
  const said = words === '' ? '' : ` (${words})`;
  if (status >= 500)
    return new ApppotError('transport', `${host} has an error of its own: ${status}${said}.`, {
      transient: true,
    });
  return new ApppotError(
    'credentials',
    `${host} does not let ${credentials.subject ?? 'us'} in: ${status}${said}.`,
    { hint: `It was shown the ${credentials.kind} in ${credentials.source}. Ask the site for access.` },
  );
}

/** Codes of node:tls for a server whose certificate we do not accept (X509 verification errors, RFC 6125). */
const UNTRUSTED =
  /^(?:CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH)/;

/** What to do about some of them. */
const UNTRUSTED_HINTS: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID:
    'endpoint of the target has to have the name that the site has in its certificate.',
};
const NO_AUTHORITY =
  'ca_dir of the target names the folder of certificate authorities, often /etc/grid-security/certificates.';

const UNREACHABLE: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no host of this name',
  ECONNREFUSED: 'nothing listens there',
  ERR_SSL_WRONG_VERSION_NUMBER: 'what listens there does not speak https',
};

/** A connection that failed, in words. */
export function connectionError(host: string, cause: unknown): Error {
  if (cause instanceof ApppotError) return cause;
  const code = systemCode(cause) ?? '';
  const message = (cause as Error).message;
  if (UNTRUSTED.test(code))
    return new ApppotError('credentials', `The certificate of ${host} is not to be trusted: ${message}.`, {
      cause,
      hint: /CERT_(?:NOT_YET_VALID|HAS_EXPIRED)/.test(code)
        ? `This machine's clock says ${new Date().toISOString()}. If that is wrong, set it; jobs there are not touched.`
        : (UNTRUSTED_HINTS[code] ?? NO_AUTHORITY),
    });
  if (/^ERR_SSL_.*ALERT/.test(code))
    return new ApppotError('credentials', `${host} refuses our certificate: ${message}.`, { cause });
  const words = UNREACHABLE[code] ?? message;
  return new ApppotError('transport', `Cannot reach ${host}: ${words}.`, {
    cause,
    transient: true,
    hint:
      code === 'UND_ERR_SOCKET'
        ? 'It hung up. If it always does, it may not know the authority of your certificate.'
        : 'Check the network and the endpoint; jobs there are not touched.',
  });
}
