/** A certificate with its private key (PEM), checked to be a pair before any site is asked. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { ApppotError } from '../../errors.ts';
import type { Ask } from '../transport/ssh-auth.ts';

/** What was read from one or two files. */
export interface KeyPairTexts {
  readonly certFile: string;
  readonly certText: string;
  readonly keyFile: string;
  readonly keyText: string;
}

export interface KeyPair {
  /** Certificate and the chain above it, PEM. */
  readonly cert: string;
  /** The key, PEM, without a passphrase; only ever in memory. */
  readonly key: string;
  /** Distinguished name, each part after a "/", as sites list it. */
  readonly subject: string;
  readonly begins: Date;
  /** When the first of the chain ends. */
  readonly expires: Date;
  /** True when what ends first is the user's certificate itself, and no proxy made of it. */
  readonly endsAtRoot: boolean;
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const PEM_KEY = /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]+?-----END (?:[A-Z]+ )*PRIVATE KEY-----/;
/** How often a passphrase may be mistyped. */
const TRIES = 3;

/** Certificates of a PEM text, in their order. */
export function certificatesOf(text: string): readonly string[] {
  return text.match(PEM_CERTIFICATE) ?? [];
}

/**
 * Checks that certificate and key belong together; a key with a passphrase is unlocked.
 *
 * @param ask asks the person for a passphrase; undefined where there is no terminal
 * @throws ApppotError `credentials` for files that hold something else, for two that are no pair, for a passphrase
 *   that nobody can be asked for or that does not fit; `interrupted`
 */
export async function readKeyPair(texts: KeyPairTexts, ask: Ask | undefined): Promise<KeyPair> {
  const { certFile, certText, keyFile, keyText } = texts;
  const chain = certificatesOf(certText);
  const pem = PEM_KEY.exec(keyText)?.[0];
  if (chain.length === 0)
    throw new ApppotError('credentials', `${certFile} holds no certificate (PEM).`, {
      hint: 'A file from a browser (.p12, .pfx): openssl pkcs12 -in FILE -clcerts -nokeys -out cert.pem.',
    });
  if (pem === undefined)
    throw new ApppotError('credentials', `${keyFile} holds no private key (PEM).`, {
      hint:
        keyFile === certFile
          ? 'A proxy file has certificate and key in one; make one with arcproxy.'
          : 'key of the target names it; from a .p12 file: openssl pkcs12 -in FILE -nocerts -out key.pem.',
    });
  let parsed: readonly X509Certificate[];
  try {
    parsed = chain.map((one) => new X509Certificate(one));
  } catch (cause) {
    throw new ApppotError('credentials', `${certFile} holds a damaged certificate.`, {
      cause,
      hint: `Get the file once more; this should show it: openssl x509 -in ${certFile} -noout -text.`,
    });
  }
  const key = await unlock(pem, keyFile, ask);
  const [own] = parsed;
  if (own?.checkPrivateKey(createPrivateKey(key)) !== true)
    throw new ApppotError(
      'credentials',
      `The private key in ${keyFile} does not belong to the certificate in ${certFile}.`,
      {
        hint:
          keyFile === certFile
            ? 'The certificate that the key belongs to has to come first in the file.'
            : 'They have to be of one pair: was only one of the two files renewed?',
      },
    );
  const ends = parsed.map(({ validTo }) => Date.parse(validTo));
  const first = ends.indexOf(Math.min(...ends));
  return {
    cert: chain.join('\n'),
    key,
    subject: `/${own.subject.replaceAll('\n', '/')}`,
    begins: new Date(Math.max(...parsed.map(({ validFrom }) => Date.parse(validFrom)))),
    expires: new Date(ends[first] ?? 0),
    endsAtRoot: !isProxy(parsed[first] ?? own),
  };
}

/** RFC 3820, 3.4: a proxy's subject is that of its issuer and one more common name. */
function isProxy({ subject, issuer }: X509Certificate): boolean {
  return subject.startsWith(`${issuer}\nCN=`);
}

async function unlock(pem: string, file: string, ask: Ask | undefined): Promise<string> {
  if (!pem.includes('ENCRYPTED')) {
    try {
      createPrivateKey(pem);
      return pem;
    } catch (cause) {
      throw new ApppotError('credentials', `${file} holds a damaged private key.`, {
        cause,
        hint: `Get the file once more; this should be content with it: openssl pkey -in ${file} -noout -check.`,
      });
    }
  }
  const hint = 'Make a proxy with arcproxy, which asks for it once, and name that as proxy in the target.';
  if (ask === undefined)
    throw new ApppotError(
      'credentials',
      `The private key in ${file} is locked by a passphrase, and there is no terminal to ask for it.`,
      { hint },
    );
  for (let attempt = 1; ; attempt += 1) {
    const passphrase = await ask(`Passphrase of ${file}: `, { echo: false });
    try {
      return createPrivateKey({ key: pem, passphrase }).export({ type: 'pkcs8', format: 'pem' }).toString();
    } catch (cause) {
      if (attempt < TRIES) continue;
      throw new ApppotError('credentials', `That is not the passphrase of ${file}.`, { cause, hint });
    }
  }
}
