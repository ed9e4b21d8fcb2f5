import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { TLSSocket, type DetailedPeerCertificate } from 'node:tls';
import type { ExecutionContext } from 'ava';
import type { GridLab } from './grid.ts';

/** A web server at the lab that gives files below /private/ only to the lab's user, or to a proxy that this user signed. */
export interface PrivateWeb {
  readonly url: string;
  /** Method, path, and the subject that was let in ("nobody" where none was). */
  readonly requests: readonly string[];
}

/** Starts it; it ends with the test. Needs the lab's host key, that is, root. */
export async function privateWeb(t: ExecutionContext, lab: GridLab, content: string): Promise<PrivateWeb> {
  const creds = path.join(lab.folder, 'creds');
  const authority = new X509Certificate(await readFile(path.join(lab.arc.caDir, 'ARC-TestCA-lab.pem')));
  const requests: string[] = [];
  const server = createServer(
    {
      cert: await readFile(path.join(creds, 'host-localhost-cert.pem')),
      key: await readFile(path.join(creds, 'host-localhost-key.pem')),
      requestCert: true,
      // OpenSSL knows no proxies here: the chain is checked below.
      rejectUnauthorized: false,
    },
    (request, response) => {
      const { socket } = request;
      const subject =
        socket instanceof TLSSocket ? subjectOf(socket.getPeerCertificate(true), authority) : undefined;
      // A-REX asks as it would ask a proxy: with the whole address.
      const file = (request.url ?? '').replace(/^https:\/\/[^/]+/, '');
      const method = request.method ?? '';
      requests.push(`${method} ${file} ${subject ?? 'nobody'}`);
      const status = file.startsWith('/private/') && subject === undefined ? 403 : 200;
      if (method !== 'GET' && method !== 'HEAD') response.writeHead(501, { 'content-length': 0 }).end();
      else if (status === 403) response.writeHead(status, { 'content-length': 0 }).end();
      else {
        response.writeHead(status, {
          'content-length': Buffer.byteLength(content),
          'last-modified': new Date(0).toUTCString(),
        });
        response.end(method === 'HEAD' ? undefined : content);
      }
    },
  ).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, requests };
}

/** The subject of a chain of proxies that ends in a certificate of the authority. */
function subjectOf(peer: DetailedPeerCertificate, authority: X509Certificate): string | undefined {
  let bottom: X509Certificate | undefined;
  let known = peer as DetailedPeerCertificate | undefined;
  for (let depth = 0; depth < 5 && known !== undefined && 'raw' in known; depth += 1) {
    const certificate = new X509Certificate(known.raw);
    bottom ??= certificate;
    if (Date.parse(certificate.validTo) < Date.now()) return undefined;
    if (certificate.verify(authority.publicKey)) return bottom.subject.replaceAll('\n', '/');
    const next = known.issuerCertificate as DetailedPeerCertificate | undefined;
    if (next === undefined || !certificate.verify(new X509Certificate(next.raw).publicKey)) return undefined;
    known = next;
  }
  return undefined;
}
