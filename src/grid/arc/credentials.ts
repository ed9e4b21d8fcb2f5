/** Who the user is for a computing element: a certificate with its key, a proxy, or a bearer token; and whom to trust. */
import { X509Certificate } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ApppotError, systemCode } from '../../errors.ts';

/** Where credentials are; all may be left out. */
export interface ArcCredentialSources {
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
  readonly proxy?: string | undefined;
  readonly tokenFile?: string | undefined;
  /** Name of an environment variable. */
  readonly tokenEnv?: string | undefined;
  readonly caDir?: string | undefined;
}

/** What a TLS connection and a request need. */
export interface ArcCredentials {
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
  /** PEM certificates of authorities; the system's own when undefined. */
  readonly ca?: readonly string[];
  /** When the first of the certificates ends. */
  readonly expires?: Date;
  /** For people: which one is used. */
  readonly origin: string;
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const PEM_KEY = /-----BEGIN (?:RSA |EC |ENCRYPTED )?PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----/;

/**
 * Loads credentials: those that are named, else what ARC's own clients take (X509_USER_PROXY, X509_USER_CERT and
 * X509_USER_KEY, /tmp/x509up_uUID, ~/.globus).
 *
 * @throws ApppotError `credentials` when there are none, they cannot be read, need a passphrase, or are expired
 */
export async function loadCredentials(
  sources: ArcCredentialSources,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<ArcCredentials> {
  const ca = await loadAuthorities(sources.caDir ?? environment['X509_CERT_DIR']);
  const trust = ca === undefined ? {} : { ca };
  const token = await loadToken(sources, environment);
  if (token !== undefined) return { ...trust, token: token.text, origin: token.origin };
  const { certificate, key } = await findFiles(sources, environment);
  const chain = (await readSecret(certificate)).match(PEM_CERTIFICATE) ?? [];
  const keyText = PEM_KEY.exec(await readSecret(key))?.[0];
  if (chain.length === 0 || keyText === undefined)
    throw new ApppotError(
      'credentials',
      chain.length === 0 ? `${certificate} holds no certificate.` : `${key} holds no private key.`,
      { hint: 'A certificate and its key are text files in PEM form; a proxy holds both.' },
    );
  if (/ENCRYPTED/.test(keyText))
    throw new ApppotError('credentials', `The key ${key} is protected by a passphrase.`, {
      hint: 'Make a proxy with "arcproxy", which asks for the passphrase once.',
    });
  const expires = new Date(Math.min(...chain.map((pem) => Date.parse(new X509Certificate(pem).validTo))));
  if (expires.getTime() <= Date.now())
    throw new ApppotError(
      'credentials',
      `The certificate in ${certificate} ended at ${expires.toISOString()}.`,
      {
        hint: 'Get a new one; for a proxy, run "arcproxy" again.',
      },
    );
  return { ...trust, cert: chain.join('\n'), key: keyText, expires, origin: certificate };
}

async function loadToken(
  { tokenFile, tokenEnv }: ArcCredentialSources,
  environment: NodeJS.ProcessEnv,
): Promise<{ text: string; origin: string } | undefined> {
  if (tokenFile === undefined && tokenEnv === undefined) return undefined;
  const origin = tokenFile ?? `the variable ${tokenEnv ?? ''}`;
  const text = (tokenFile === undefined ? environment[tokenEnv ?? ''] : await readSecret(tokenFile))?.trim();
  if (text === undefined || !/^[\w.~+/-]+=*$/.test(text))
    throw new ApppotError('credentials', `There is no bearer token in ${origin}.`, {
      hint: 'A token is one line of letters, digits and dots.',
    });
  const expires = tokenExpiry(text);
  if (expires !== undefined && expires.getTime() <= Date.now())
    throw new ApppotError('credentials', `The token in ${origin} ended at ${expires.toISOString()}.`, {
      hint: 'Get a new one from your identity provider.',
    });
  return { text, origin };
}

/** The claim `exp` of a JSON Web Token (RFC 7519, 4.1.4); undefined for any other token. */
function tokenExpiry(token: string): Date | undefined {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
      exp?: unknown;
    };
    return typeof claims.exp === 'number' ? new Date(claims.exp * 1000) : undefined;
  } catch {
    return undefined;
  }
}

async function findFiles(
  sources: ArcCredentialSources,
  environment: NodeJS.ProcessEnv,
): Promise<{ certificate: string; key: string }> {
  if (sources.proxy !== undefined) return { certificate: sources.proxy, key: sources.proxy };
  if (sources.certificate !== undefined)
    return { certificate: sources.certificate, key: sources.key ?? sources.certificate };
  const { X509_USER_PROXY: proxy, X509_USER_CERT: certificate, X509_USER_KEY: key } = environment;
  const globus = join(homedir(), '.globus');
  const candidates: readonly (readonly [string | undefined, string | undefined])[] = [
    [proxy, proxy],
    [certificate, key ?? certificate],
    [`/tmp/x509up_u${process.getuid?.() ?? 0}`, undefined],
    [join(globus, 'usercert.pem'), join(globus, 'userkey.pem')],
  ];
  for (const [file, keyFile] of candidates) {
    if (file === undefined || file === '') continue;
    const readable = await readFile(file).then(
      () => true,
      () => false,
    );
    if (readable) return { certificate: file, key: keyFile ?? file };
  }
  throw new ApppotError(
    'credentials',
    'There is neither a certificate, nor a proxy, nor a token for this target.',
    {
      hint: 'Set certificate and key, proxy, or token_file in its section of apppot.ini, or run "arcproxy".',
    },
  );
}

async function readSecret(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new ApppotError('credentials', `Cannot read ${file} (${systemCode(error) ?? 'unreadable'}).`, {
      cause: error,
    });
  }
}

/** Every certificate of a folder as grid software lays it out (NAME.pem, HASH.0), each once. */
async function loadAuthorities(folder: string | undefined): Promise<readonly string[] | undefined> {
  const chosen = folder ?? '/etc/grid-security/certificates';
  let names: string[];
  try {
    names = await readdir(chosen);
  } catch (error) {
    if (folder === undefined) return undefined;
    throw new ApppotError('credentials', `Cannot read the folder of certificate authorities ${folder}.`, {
      cause: error,
    });
  }
  const found = new Set<string>();
  for (const name of names) {
    if (!/\.(?:pem|crt|\d)$/.test(name)) continue;
    const text = await readFile(join(chosen, name), 'utf8').catch(() => '');
    for (const pem of text.match(PEM_CERTIFICATE) ?? []) found.add(pem);
  }
  return found.size === 0 && folder === undefined ? undefined : [...found];
}
