import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { ArcBackend } from '../../src/grid/arc/backend.ts';
import type { ArcOptions } from '../../src/grid/arc/http.ts';
import { newFolder } from './guest.ts';

const execute = promisify(execFile);
export const ID = 'abcdefgh0123456789';

export interface Keys {
  readonly folder: string;
  readonly certificate: string;
  readonly key: string;
}

/** A certificate for localhost that is its own authority, and serves as ours too. */
export async function makeKeys(t: ExecutionContext): Promise<Keys> {
  const folder = await newFolder(t);
  const certificate = path.join(folder, 'cert.pem');
  const key = path.join(folder, 'key.pem');
  const words = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    '/CN=localhost',
  ];
  await execute('openssl', [
    ...words,
    ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate, '-days', '1'],
  ]);
  return { folder, certificate, key };
}

/** A server that says what the test wants, and a backend that believes it to be A-REX. */
export async function liar(
  t: ExecutionContext,
  answer: RequestListener,
  options: ArcOptions = {},
): Promise<ArcBackend> {
  const { certificate, key } = await makeKeys(t);
  const server = createServer({ cert: await readFile(certificate), key: await readFile(key) }, answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const arc = new ArcBackend(
    { name: 'liar', endpoint: `https://localhost:${port}/arex`, certificate, key, caDir: certificate },
    options,
  );
  t.teardown(async () => {
    await arc.close();
    server.closeAllConnections();
    server.close();
  });
  t.context = { native: `https://localhost:${port}/arex/rest/1.0/jobs/${ID}`, caDir: certificate };
  return arc;
}

export function job(t: ExecutionContext): { native: string; caDir: string } {
  return t.context as { native: string; caDir: string };
}

/** WebDAV's answer about a folder with these files. */
export function listing(files: readonly (readonly [string, number])[]): string {
  const one = (name: string, inner: string): string =>
    `<d:response><d:href>x</d:href><d:propstat><d:prop><d:displayname>${name}</d:displayname>${inner}</d:prop></d:propstat></d:response>`;
  const responses = files.map(([name, size]) =>
    one(name, `<d:resourcetype/><d:getcontentlength>${size}</d:getcontentlength>`),
  );
  return `<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">${one('s', '<d:resourcetype><d:collection/></d:resourcetype>')}${responses.join('')}</d:multistatus>`;
}

/** Lists these files in both ways; false when the request is for something else. */
export function lists(
  request: IncomingMessage,
  response: ServerResponse,
  files: readonly (readonly [string, number])[],
): boolean {
  if (request.method === 'PROPFIND') response.end(listing(files));
  else if (request.url?.endsWith('/session/') === true)
    response.end(
      `<list>${files.map(([name, size]) => `<file size="${size}">${name}</file>`).join('')}</list>`,
    );
  else return false;
  return true;
}
