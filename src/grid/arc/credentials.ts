/** Certificates, proxies and bearer tokens: reading them, and saying before the site does that they have ended. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ApppotError, systemCode } from '../../errors.ts';
import type { CredentialSettings } from './settings.ts';

/** What identifies us to a site. */
export interface Credentials {
  /** For people: which file or variable it is. */
  readonly source: string;
  readonly kind: 'certificate' | 'proxy' | 'token';
  /** Certificate chain and key, PEM. */
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
  /** Distinguished name, or the token's subject. */
  readonly subject?: string;
  readonly expires?: Date;
}

/** Files that {@link loadCredentials} reads, so that renewed ones are noticed. */
export function credentialFiles(settings: CredentialSettings): readonly string[] {
  const place = findCredentials(settings);
  return 'file' in place ? [place.file] : 'cert' in place ? [place.cert, place.key] : [];
}

/**
 * Reads what the settings name, or what lies where grid tools put it: the variables BEARER_TOKEN, BEARER_TOKEN_FILE,
 * X509_USER_PROXY, X509_USER_CERT with X509_USER_KEY; /tmp/x509up_uID; ~/.globus.
 *
 * @throws ApppotError `credentials` when there is none, it cannot be read, others can read it, or it has ended
 */
export function loadCredentials(settings: CredentialSettings, now = new Date()): Credentials {
  const place = findCredentials(settings);
  const found =
    'variable' in place
      ? fromToken(process.env[place.variable] ?? '', `the variable ${place.variable}`)
      : 'cert' in place
        ? fromCertificate(place.cert, place.key)
        : place.kind === 'token'
          ? fromToken(readSecret(place.file), place.file)
          : fromProxy(place.file);
  if (found.expires !== undefined && found.expires <= now)
    throw new ApppotError(
      'credentials',
      `The ${found.kind} in ${found.source} has expired: it ended at ${found.expires.toISOString()}.`,
      {
        hint:
          found.kind === 'proxy'
            ? 'Make a new one with arcproxy; jobs that run are not touched.'
            : 'Get a new one; jobs that run are not touched.',
      },
    );
  return found;
}

/** Seconds that the credentials are good for; undefined when they do not tell. */
export function secondsLeft(credentials: Credentials, now = new Date()): number | undefined {
  if (credentials.expires === undefined) return undefined;
  return Math.floor((credentials.expires.getTime() - now.getTime()) / 1000);
}

type Place =
  | { readonly variable: string }
  | { readonly cert: string; readonly key: string }
  | { readonly file: string; readonly kind: 'proxy' | 'token' };

function findCredentials(settings: CredentialSettings): Place {
  if (settings.tokenEnv !== undefined) return { variable: settings.tokenEnv };
  if (settings.tokenFile !== undefined) return { file: settings.tokenFile, kind: 'token' };
  if (settings.proxy !== undefined) return { file: settings.proxy, kind: 'proxy' };
  if (settings.certificate !== undefined)
    return { cert: settings.certificate, key: settings.key ?? settings.certificate };
  const env = process.env;
  if (isSet(env['BEARER_TOKEN'])) return { variable: 'BEARER_TOKEN' };
  if (isSet(env['BEARER_TOKEN_FILE'])) return { file: env['BEARER_TOKEN_FILE'], kind: 'token' };
  if (isSet(env['X509_USER_PROXY']) && existsSync(env['X509_USER_PROXY']))
    return { file: env['X509_USER_PROXY'], kind: 'proxy' };
  if (isSet(env['X509_USER_CERT']) && isSet(env['X509_USER_KEY']))
    return { cert: env['X509_USER_CERT'], key: env['X509_USER_KEY'] };
  const proxy = `/tmp/x509up_u${process.getuid?.() ?? 0}`;
  if (existsSync(proxy)) return { file: proxy, kind: 'proxy' };
  const globus = join(homedir(), '.globus');
  if (existsSync(join(globus, 'usercert.pem')))
    return { cert: join(globus, 'usercert.pem'), key: join(globus, 'userkey.pem') };
  throw new ApppotError('credentials', 'There is neither a certificate, nor a proxy, nor a bearer token.', {
    hint: 'Make a proxy with arcproxy, or name certificate and key, proxy, token_file or token_env in the target.',
  });
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

/** A file that only its owner may read. */
function readSecret(file: string): string {
  try {
    if ((statSync(file).mode & 0o077) !== 0)
      throw new ApppotError('credentials', `Others can read ${file}.`, {
        hint: `chmod 600 ${file}; if it was so for long, get a new one.`,
      });
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): ApppotError {
  if (cause instanceof ApppotError) return cause;
  const why = systemCode(cause) === 'ENOENT' ? 'there is no such file' : (cause as Error).message;
  return new ApppotError('credentials', `Cannot read ${file}: ${why}.`, { cause });
}

function fromProxy(file: string): Credentials {
  const text = readSecret(file);
  return { ...x509(text, text, file), kind: 'proxy' };
}

function fromCertificate(certFile: string, keyFile: string): Credentials {
  let cert: string;
  try {
    cert = readFileSync(certFile, 'utf8');
  } catch (cause) {
    throw unreadable(certFile, cause);
  }
  return { ...x509(cert, readSecret(keyFile), certFile), kind: 'certificate' };
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Certificates of a PEM text, in their order. */
export function certificatesOf(text: string): readonly string[] {
  return text.match(PEM_CERTIFICATE) ?? [];
}

function x509(certText: string, keyText: string, source: string): Omit<Credentials, 'kind'> {
  const chain = certificatesOf(certText);
  const key = /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]+?-----END (?:[A-Z]+ )*PRIVATE KEY-----/.exec(
    keyText,
  )?.[0];
  if (chain.length === 0) throw new ApppotError('credentials', `${source} holds no certificate (PEM).`);
  if (key === undefined) throw new ApppotError('credentials', `There is no private key (PEM) for ${source}.`);
  if (key.includes('ENCRYPTED'))
    throw new ApppotError('credentials', `The private key for ${source} is locked by a passphrase.`, {
      hint: 'Make a proxy with arcproxy, which asks for it once.',
    });
  try {
    const parsed = chain.map((pem) => new X509Certificate(pem));
    const own = createPrivateKey(key);
    if (parsed.findIndex((one) => one.checkPrivateKey(own)) !== 0)
      throw new ApppotError(
        'credentials',
        `The private key does not belong to the certificate in ${source}.`,
        {
          hint: 'certificate and key of the target have to be two files of one pair.',
        },
      );
    const ends = parsed.map(({ validTo }) => Date.parse(validTo));
    return {
      source,
      cert: chain.join('\n'),
      key,
      subject: (parsed[0]?.subject ?? '').replaceAll('\n', '/'),
      // A proxy is over when any part of its chain is.
      expires: new Date(Math.min(...ends)),
    };
  } catch (cause) {
    if (cause instanceof ApppotError) throw cause;
    throw new ApppotError('credentials', `${source} holds no certificate that can be read.`, { cause });
  }
}

function fromToken(text: string, source: string): Credentials {
  const token = text.trim();
  if (!/^[\w.~+/=-]+$/.test(token))
    throw new ApppotError('credentials', `There is no bearer token in ${source}.`);
  const claims = claimsOf(token);
  const subject = claims['sub'];
  const expires = claims['exp'];
  return {
    source,
    kind: 'token',
    token,
    ...(typeof subject === 'string' ? { subject } : {}),
    ...(typeof expires === 'number' ? { expires: new Date(expires * 1000) } : {}),
  };
}

/** Claims of a JWT (RFC 7519), unverified: only to tell the user when it ends. */
function claimsOf(token: string): Readonly<Record<string, unknown>> {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
