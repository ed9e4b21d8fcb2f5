/**
 * A proxy of ours in the site's hands (RFC 3820), for inputs that only we may read. The site makes the key and a
 * request; we sign it. Only where an input is fetched from where one has to say who one is.
 */
// @peculiar/x509 wants it to be there first.
import 'reflect-metadata';
import { createPrivateKey, randomBytes, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { ApppotError } from '../../errors.ts';
import type { ArcClient } from './client.ts';
import type { Credentials } from './credentials.ts';
import { certificatesOf } from './key-pair.ts';
import type { ArcJob } from './description.ts';
import { discard } from './steady.ts';

/** proxyCertInfo (RFC 3820, 3.8): language id-ppl-inheritAll, no limit of path length. DER. */
const PROXY_CERT_INFO = '1.3.6.1.5.5.7.1.14';
const INHERIT_ALL = Buffer.from('300c300a06082b06010505071501', 'hex');
/** Longest life of a delegated proxy. */
const LIFE = 7 * 24 * 3600 * 1000;

/**
 * True for a job with an input that the site fetches under a name of ours: by https, and from grid storage. A-REX 6
 * sets up TLS with the job's own credentials, also for files that anybody may read, and fails without the key of a proxy;
 * of those who came with a token it has none, and is itself then. Plain http and ftp need nobody's name.
 */
export function needsDelegation(job: ArcJob, credentials: Credentials): boolean {
  const open = credentials.kind === 'token' ? /^(?:https?|ftp):/i : /^(?:http|ftp):/i;
  return job.files.some((file) => 'url' in file && !open.test(file.url));
}

/**
 * Gives the site a proxy.
 *
 * @returns its identifier there, for job descriptions
 * @throws ApppotError `credentials` when a bearer token is all that we have
 */
export async function delegate(client: ArcClient, signal: AbortSignal): Promise<string> {
  const credentials = await client.http.credentials();
  const asked = await client.http.ask({
    method: 'POST',
    path: '/delegations?action=new',
    headers: { accept: 'application/x-pem-file' },
    signal,
  });
  const request = await client.http.text(asked);
  const id = /([A-Za-z0-9]+)\s*$/.exec(String(asked.headers['location'] ?? ''))?.[1];
  if (asked.status !== 201 || id === undefined)
    throw new ApppotError('target', `${client.http.host} takes no delegation: it answers ${asked.status}.`);
  const chain = await signProxy(request, credentials);
  const given = await client.http.ask({
    method: 'PUT',
    path: `/delegations/${id}`,
    headers: { 'content-type': 'application/x-pem-file' },
    body: chain,
    signal,
  });
  await discard(given.body);
  if (given.status >= 300)
    throw new ApppotError('target', `${client.http.host} does not take our proxy: ${given.status}.`);
  return id;
}

/**
 * Signs a certificate request as a proxy of ours.
 *
 * @param request PEM
 * @returns the proxy and the chain above it, PEM
 */
export async function signProxy(request: string, credentials: Credentials): Promise<string> {
  const { cert, key, expires } = credentials;
  const own = cert === undefined ? undefined : certificatesOf(cert)[0];
  if (cert === undefined || own === undefined || key === undefined)
    throw new ApppotError(
      'credentials',
      'An input needs a certificate or a proxy to be read, and there is only a token.',
    );
  x509.cryptoProvider.set(webcrypto as never);
  const csr = new x509.Pkcs10CertificateRequest(request);
  if (!(await csr.verify()))
    throw new ApppotError('target', 'The request for a proxy that the site sent is not sound.');
  const issuer = new x509.X509Certificate(own);
  const serial = BigInt(`0x${randomBytes(7).toString('hex')}`);
  const signingAlgorithm = algorithmOf(own);
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    createPrivateKey(key).export({ type: 'pkcs8', format: 'der' }),
    signingAlgorithm,
    false,
    ['sign'],
  );
  const now = Date.now();
  const end = Math.min(expires?.getTime() ?? Infinity, now + LIFE);
  const proxy = await x509.X509CertificateGenerator.create({
    serialNumber: serial.toString(16).padStart(16, '0'),
    issuer: issuer.subjectName.toJSON(),
    subject: [...issuer.subjectName.toJSON(), { CN: [serial.toString()] }],
    // Clocks differ a little.
    notBefore: new Date(now - 300_000),
    notAfter: new Date(end),
    publicKey: csr.publicKey,
    signingKey: signingKey as never,
    signingAlgorithm,
    extensions: [
      new x509.Extension(PROXY_CERT_INFO, true, INHERIT_ALL),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
        true,
      ),
    ],
  });
  return `${proxy.toString('pem')}\n${cert}\n`;
}

function algorithmOf(pem: string): { name: string; hash: string; namedCurve?: string } {
  const { publicKey } = new NodeCertificate(pem);
  if (publicKey.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const curve = publicKey.asymmetricKeyDetails?.namedCurve;
  const names: Readonly<Record<string, string>> = {
    prime256v1: 'P-256',
    secp384r1: 'P-384',
    secp521r1: 'P-521',
  };
  if (publicKey.asymmetricKeyType === 'ec' && curve !== undefined && curve in names)
    return { name: 'ECDSA', hash: 'SHA-256', namedCurve: names[curve] ?? '' };
  throw new ApppotError('credentials', 'Proxies can be made of certificates with RSA and NIST curve keys.');
}
