/** Certificates, proxies and bearer tokens: reading them, and saying before the site does that they have ended. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ApppotError, systemCode } from '../../errors.ts';
import type { Ask } from '../transport/ssh-auth.ts';
import { readKeyPair } from './key-pair.ts';
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
  readonly begins?: Date;
  readonly expires?: Date;
  /** For people: how to renew what has ended. */
  readonly renew: string;
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
 * @param ask asks for the passphrase of a locked key; undefined where nobody can be asked
 * @throws ApppotError `credentials` when there is none, it cannot be read, others can read it, certificate and key are
 *   no pair, or it has ended; `interrupted` at a question
 */
export async function loadCredentials(
  settings: CredentialSettings,
  ask?: Ask,
  now = new Date(),
): Promise<Credentials> {
  const place = findCredentials(settings);
  const found =
    'variable' in place
      ? fromToken(process.env[place.variable] ?? '', `the variable ${place.variable}`)
      : 'cert' in place
        ? await fromCertificate(place.cert, place.key, ask)
        : place.kind === 'token'
          ? fromToken(readSecret(place.file), place.file)
          : await fromProxy(place.file);
  const { kind, source, expires, renew } = found;
  if (expires === undefined || expires > now) return found;
  const ago = humanDuration((now.getTime() - expires.getTime()) / 1000);
  throw new ApppotError(
    'credentials',
    `The ${kind} in ${source} has expired: it ended ${ago} ago, at ${expires.toISOString()}.`,
    { hint: `${renew}; jobs that run are not touched.` },
  );
}

/** Seconds that the credentials are good for; undefined when they do not tell. */
export function secondsLeft(credentials: Credentials, now = new Date()): number | undefined {
  if (credentials.expires === undefined) return undefined;
  return Math.floor((credentials.expires.getTime() - now.getTime()) / 1000);
}

/** A length of time for people: the largest unit of which there are two. */
export function humanDuration(seconds: number): string {
  const units = [
    [86_400, 'days'],
    [3600, 'hours'],
    [60, 'minutes'],
  ] as const;
  const [size, name] = units.find(([unit]) => seconds >= 2 * unit) ?? [1, 'seconds'];
  return `${Math.floor(seconds / size)} ${name}`;
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
  return new ApppotError('credentials', `Cannot read ${file}: ${whyUnreadable(cause)}.`, {
    cause,
    hint: 'certificate and key, proxy, or token_file of the target say where it is; without them, the variables of grid tools.',
  });
}

/** Why a file cannot be read, in words. */
export function whyUnreadable(cause: unknown): string {
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    ENOTDIR: 'there is no such file',
    EACCES: 'it is not yours to read',
    EPERM: 'it is not yours to read',
    EISDIR: 'it is a folder',
  };
  return words[systemCode(cause) ?? ''] ?? (cause as Error).message;
}

async function fromProxy(file: string): Promise<Credentials> {
  const text = readSecret(file);
  // A proxy's key is never locked.
  const pair = await readKeyPair({ certFile: file, certText: text, keyFile: file, keyText: text }, undefined);
  const renew = pair.endsAtRoot
    ? 'The certificate that it was made of has ended: get a new one of your authority, then make a proxy with arcproxy'
    : 'Make a new one with arcproxy';
  return { ...pair, source: file, kind: 'proxy', renew };
}

async function fromCertificate(certFile: string, keyFile: string, ask?: Ask): Promise<Credentials> {
  let certText: string;
  try {
    certText = readFileSync(certFile, 'utf8');
  } catch (cause) {
    throw unreadable(certFile, cause);
  }
  const pair = await readKeyPair({ certFile, certText, keyFile, keyText: readSecret(keyFile) }, ask);
  return {
    ...pair,
    source: certFile,
    kind: 'certificate',
    renew: 'Get a new one of the authority that issued it',
  };
}

function fromToken(text: string, source: string): Credentials {
  const token = text.trim();
  if (!/^[\w.~+/=-]+$/.test(token))
    throw new ApppotError('credentials', `There is no bearer token in ${source}.`, {
      hint: "A token is one line of letters, digits and dots, as oidc-token or your site's portal prints it.",
    });
  const claims = claimsOf(token);
  const time = (name: string): Date | undefined =>
    typeof claims[name] === 'number' ? new Date(claims[name] * 1000) : undefined;
  const subject = claims['sub'];
  const begins = time('nbf');
  const expires = time('exp');
  return {
    source,
    kind: 'token',
    token,
    renew: "Get a new one where this one came from (oidc-token, htgettoken, your site's portal)",
    ...(typeof subject === 'string' ? { subject } : {}),
    ...(begins === undefined ? {} : { begins }),
    ...(expires === undefined ? {} : { expires }),
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
