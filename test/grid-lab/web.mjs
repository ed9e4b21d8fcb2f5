/**
 * web.mjs PORT FOLDER LOG: files of a folder over HTTP on the loopback, as A-REX wants them: request targets in absolute form, HEAD,
 * Range, Last-Modified; PUT writes a file. One line per request goes into LOG.
 */
import {
  appendFileSync,
  createReadStream,
  createWriteStream,
  mkdirSync,
  renameSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';

const [port, folder, log] = process.argv.slice(2);

function fileOf(target) {
  const url = new URL(target, `http://localhost:${port}`);
  const file = path.join(folder, decodeURIComponent(url.pathname));
  return file.startsWith(`${folder}/`) ? file : undefined;
}

function send(request, response, file) {
  let status;
  try {
    status = statSync(file);
  } catch {
    status = undefined;
  }
  if (status === undefined || !status.isFile()) {
    response.writeHead(404, { 'Content-Length': 0 }).end();
    return;
  }
  const headers = { 'Last-Modified': status.mtime.toUTCString(), 'Accept-Ranges': 'bytes' };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const first = range ? Number(range[1]) : 0;
  const last = range && range[2] !== '' ? Math.min(Number(range[2]), status.size - 1) : status.size - 1;
  if (range && first > last) {
    response.writeHead(416, { 'Content-Range': `bytes */${status.size}`, 'Content-Length': 0 }).end();
    return;
  }
  if (range) headers['Content-Range'] = `bytes ${first}-${last}/${status.size}`;
  headers['Content-Length'] = last - first + 1;
  response.writeHead(range ? 206 : 200, headers);
  if (request.method === 'HEAD' || status.size === 0) response.end();
  else createReadStream(file, { start: first, end: last }).pipe(response);
}

function receive(request, response, file) {
  mkdirSync(path.dirname(file), { recursive: true });
  const part = `${file}.part`;
  request.pipe(createWriteStream(part)).on('finish', () => {
    renameSync(part, file);
    response.writeHead(201, { 'Content-Length': 0 }).end();
  });
}

createServer((request, response) => {
  appendFileSync(log, `${request.method} ${request.url} ${request.headers.range ?? '-'}\n`);
  const file = fileOf(request.url);
  if (file === undefined) response.writeHead(403, { 'Content-Length': 0 }).end();
  else if (request.method === 'GET' || request.method === 'HEAD') send(request, response, file);
  else if (request.method === 'PUT') receive(request, response, file);
  else response.writeHead(501, { 'Content-Length': 0 }).end();
}).listen(Number(port), '127.0.0.1');
