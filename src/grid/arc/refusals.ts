/** What keeps us from a site, in words. */
import { ApppotError, systemCode } from '../../errors.ts';
import type { Credentials } from './credentials.ts';

/** Longest wait that a site is granted, seconds. */
const LONGEST_WAIT = 60;

/** A site that asks to be left alone for a moment (RFC 9110, 10.2.3; RFC 6585, 4). */
export class BusyError extends ApppotError {
  readonly seconds: number;
  readonly status: number;

  constructor(host: string, status: number, seconds: number) {
    const isShort = seconds <= LONGEST_WAIT;
    super('transport', `${host} is too busy: ${status}, and asks to wait for ${seconds} seconds.`, {
      transient: isShort,
      hint: 'Try again later; jobs there are not touched.',
    });
    this.seconds = seconds;
    this.status = status;
  }
}

/** An error that the site has by itself. */
export class SiteError extends ApppotError {
  constructor(host: string, status: number, said: string) {
    super('transport', `${host} has an error of its own: ${status}${said}.`, {
      transient: true,
      hint: 'Try again later; if it lasts, ask the site. Jobs there are not touched.',
    });
  }
}

/** Milliseconds to wait before the next attempt, when it is left to us 0.4 s, then 1.2 s, then 3.6 s. */
export function pauseAfter(error: unknown, attempt: number): number {
  return error instanceof BusyError ? error.seconds * 1000 : 400 * 3 ** attempt;
}

/** Seconds of a Retry-After, which is a number or a date. */
export function retryAfter(value: string | string[] | undefined, now = Date.now()): number | undefined {
  if (typeof value !== 'string') return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}

/** A site that wants us elsewhere: what we show it is for itself only. */
export function redirected(host: string, location: string | string[] | undefined): ApppotError {
  const where = typeof location === 'string' ? location.replace(/[\p{Cc}\s]+/gu, ' ').slice(0, 200) : '';
  return new ApppotError(
    'transport',
    `${host} sends us elsewhere${where === '' ? '' : `, to ${where}`}: nothing of yours was sent there.`,
    { hint: 'If the site has moved, set its new address as endpoint of the target.' },
  );
}

/** An answer that is none: an error of the site, or one about us. */
export function refusal(host: string, status: number, page: string, credentials: Credentials): ApppotError {
  const words = plain(page);
  const said = words === '' ? '' : ` (${words})`;
  if (status >= 500) return new SiteError(host, status, said);
  return new ApppotError(
    'credentials',
    `${host} does not let ${credentials.subject ?? 'us'} in: ${status}${said}.`,
    {
      hint: `It was shown the ${credentials.kind} in ${credentials.source}. Ask the site for access, by that name; or is it for another endpoint?`,
    },
  );
}

/** Words of an error page. */
function plain(page: string): string {
  const text = page.replace(/<[^>]*>/g, ' ').replace(/[\p{Cc}\s]+/gu, ' ');
  return text.trim().slice(0, 200);
}

/** Codes of node:tls for a server whose certificate we do not accept (X509 verification errors, RFC 6125). */
const UNTRUSTED =
  /^(?:CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH)/;

const UNREACHABLE: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no host of this name',
  EAI_AGAIN: 'names of hosts cannot be looked up now',
  ECONNREFUSED: 'nothing listens there',
  EHOSTUNREACH: 'there is no way to it from here',
  ENETUNREACH: 'there is no way to it from here',
  ETIMEDOUT: 'it does not answer (a firewall may keep us out)',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer (a firewall may keep us out)',
  UND_ERR_HEADERS_TIMEOUT: 'it has been silent for too long',
  UND_ERR_BODY_TIMEOUT: 'it has been silent for too long',
  UND_ERR_SOCKET: 'it hung up',
  ECONNRESET: 'it hung up',
  EPIPE: 'it hung up',
  ERR_SSL_WRONG_VERSION_NUMBER: 'what listens there does not speak https',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'what listens there does not speak https',
};

/**
 * A connection that failed, in words.
 *
 * @param credentials what the site was shown, where that may be why
 */
export function connectionError(host: string, cause: unknown, credentials?: Credentials): Error {
  if (cause instanceof ApppotError) return cause;
  const code = systemCode(cause) ?? '';
  const { message } = cause as Error;
  if (UNTRUSTED.test(code)) return untrusted(host, code, cause as Error);
  if (/^ERR_SSL_.*ALERT/.test(code))
    return new ApppotError('credentials', `${host} refuses our certificate: ${alertOf(code)}.`, {
      cause,
      hint: shown(credentials) ?? 'Ask the site which authorities it knows.',
    });
  return new ApppotError('transport', `Cannot reach ${host}: ${UNREACHABLE[code] ?? message}.`, {
    cause,
    transient: true,
    hint: /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE)$/.test(code)
      ? (shown(credentials) ?? 'If it always does, it may not know the authority of your certificate.')
      : 'Check the network and the endpoint; jobs there are not touched.',
  });
}

/** A server that is not, or not provably, the one we want. */
function untrusted(host: string, code: string, cause: Error): ApppotError {
  const clock = `This machine's clock says ${new Date().toISOString()}. If that is wrong, set it; else ask the site. Jobs there are not touched.`;
  const { cert } = cause as { readonly cert?: { readonly subjectaltname?: string } };
  const [words, hint] =
    code === 'ERR_TLS_CERT_ALTNAME_INVALID'
      ? [
          `it is for another host (${cert?.subjectaltname ?? cause.message})`,
          'endpoint of the target has to have the name that the site has in its certificate.',
        ]
      : /CERT_(?:NOT_YET_VALID|HAS_EXPIRED)/.test(code)
        ? [cause.message, clock]
        : /^(?:SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_)/.test(code)
          ? [
              `none of the authorities that are known here has issued it (${cause.message})`,
              'ca_dir of the target names the folder of certificate authorities, often /etc/grid-security/certificates.',
            ]
          : [cause.message, 'Ask the site: nothing was sent there.'];
  return new ApppotError('credentials', `The certificate of ${host} is not to be trusted: ${words}.`, {
    cause,
    hint,
  });
}

/** "certificate expired" from ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED (RFC 8446, 6.2). */
function alertOf(code: string): string {
  return code
    .replace(/^.*ALERT_/, '')
    .replaceAll('_', ' ')
    .toLowerCase();
}

/** Why what was shown may not have been good enough. */
function shown(credentials: Credentials | undefined): string | undefined {
  if (credentials?.begins === undefined) return undefined;
  const { kind, source, begins } = credentials;
  const now = new Date();
  if (begins > now)
    return `The ${kind} in ${source} is good from ${begins.toISOString()} on; this machine's clock says ${now.toISOString()}.`;
  return kind === 'token'
    ? undefined
    : `It was shown the ${kind} in ${source}. If it always does so, it may not know the authority that issued it.`;
}
