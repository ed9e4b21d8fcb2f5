/** Transfers with servers that cut, drip, stall, redirect, or are too busy: files come whole, or it is said why not. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ApppotError } from '../../src/errors.ts';
import { retryAfter } from '../../src/grid/arc/refusals.ts';
import { silent } from '../../src/progress.ts';
import { PLAIN, scriptSubmission, signal, submitAll } from '../helpers/arc.ts';
import { newFolder } from '../helpers/guest.ts';
import { ID, job, liar, lists } from '../helpers/liar.ts';

const FETCH = { signal, progress: silent, outputs: ['*'] };
/** Bytes that differ from place to place: a part in the wrong place shows. */
const content = (size: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: size / 4 }, (_, at) => at).buffer);

test('a download that is cut at every megabyte goes on where it was, however often, and is whole', async (t) => {
  const whole = content(8_000_000);
  const ranges: (string | undefined)[] = [];
  const arc = await liar(t, (request, response) => {
    if (lists(request, response, [['big', whole.length]])) return;
    const { range } = request.headers;
    ranges.push(range);
    const first = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
    response.writeHead(206, { 'content-range': `bytes ${first}-${whole.length - 1}/${whole.length}` });
    const cut = Math.min(whole.length, first + 1_200_000);
    response.write(whole.subarray(first, cut), () => {
      if (cut < whole.length) response.socket?.destroySoon();
      else response.end();
    });
  });
  const folder = await newFolder(t);
  t.deepEqual(await arc.fetch(job(t), folder, FETCH), ['big']);
  t.true((await readFile(path.join(folder, 'big'))).equals(whole));
  t.true(ranges.length >= 6, `asked for ${ranges.join(', ')}`);
  t.is(new Set(ranges).size, ranges.length, 'nothing was asked for twice');
  t.deepEqual(await readdir(folder), ['big']);
});

test('a server that knows no ranges gives a file that was begun, whole', async (t) => {
  const whole = content(3_000_000);
  let asked = 0;
  const arc = await liar(t, (request, response) => {
    if (lists(request, response, [['big', whole.length]])) return;
    asked += 1;
    response.writeHead(200);
    if (asked === 1) response.write(whole.subarray(0, 1_500_000), () => response.socket?.destroySoon());
    else response.end(whole);
  });
  const folder = await newFolder(t);
  await arc.fetch(job(t), folder, FETCH);
  t.is(asked, 2);
  t.true((await readFile(path.join(folder, 'big'))).equals(whole));
});

test('answers that drip, and servers that take a request and fall silent, are given up', async (t) => {
  const patience = { silence: 1500, pace: 400, least: 1024 };
  const dripping = (response: ServerResponse): void => {
    const timer = setInterval(() => response.write(' '), 50);
    response.on('close', () => {
      clearInterval(timer);
    });
  };
  const state = { mode: 'list' };
  const arc = await liar(
    t,
    (request, response) => {
      if (state.mode === 'silent') return;
      if (state.mode === 'list') {
        response.writeHead(200);
        dripping(response);
      } else if (!lists(request, response, [['slow', 1_000_000]])) {
        const [first = '0'] = /\d+/.exec(request.headers.range ?? '') ?? [];
        response.writeHead(206, { 'content-range': `bytes ${first}-999999/1000000` });
        dripping(response);
      }
    },
    { patience },
  );
  const slow = await t.throwsAsync<ApppotError>(arc.list({ signal }), { code: 'transport' });
  t.regex(slow.message, /sends next to nothing: \d+ bytes in/);
  t.truthy(slow.hint);
  state.mode = 'file';
  const folder = await newFolder(t);
  await t.throwsAsync(arc.fetch(job(t), folder, FETCH), { code: 'transport', message: /next to nothing/ });
  t.true((await readdir(folder)).every((name) => name.endsWith('.apppot-part')));
  state.mode = 'silent';
  await t.throwsAsync(arc.list({ signal }), { code: 'transport', message: /silent for too long/ });
});

test('redirects are not followed: neither certificate nor token reach another host', async (t) => {
  const seen: string[] = [];
  const thief = createServer((request, response) => {
    seen.push(`${request.method ?? ''} ${request.headers.authorization ?? ''}`);
    response.end('{}');
  });
  thief.listen(0, '127.0.0.1');
  await once(thief, 'listening');
  t.teardown(() => thief.close());
  const location = `http://127.0.0.1:${(thief.address() as AddressInfo).port}/arex`;
  for (const status of [301, 302, 303, 307, 308]) {
    const arc = await liar(t, (request, response) => {
      request.resume();
      response.writeHead(status, { location }).end();
    });
    const calls = [
      () => arc.list({ signal }),
      () => arc.fetch(job(t), path.join('/nonexistent', ID), FETCH),
      () => submitAll(arc, scriptSubmission('true')),
    ];
    for (const call of calls) {
      const error = await t.throwsAsync<ApppotError>(call(), { code: 'transport' });
      t.regex(
        error.message,
        /sends us elsewhere, to http:\/\/127\.0\.0\.1:\d+\/arex: nothing of yours was sent/,
      );
      t.regex(error.hint ?? '', /endpoint of the target/);
    }
    await arc.close();
  }
  t.deepEqual(seen, []);
});

/** A site of which the first answers to these requests are errors. */
async function troubled(
  t: ExecutionContext,
  which: (request: IncomingMessage) => boolean,
  answers: readonly RequestListener[],
) {
  const calls: string[] = [];
  const arc = await liar(t, (request, response) => {
    const { method = '', url = '' } = request;
    if (which(request)) {
      calls.push(`${method} ${url.replace(/.*\/rest\/1\.0/, '')}`);
      const answer = answers[calls.length - 1];
      if (answer !== undefined) {
        request.resume().on('end', () => {
          answer(request, response);
        });
        return;
      }
    }
    request.resume().on('end', () => {
      if (method === 'POST')
        response
          .writeHead(201)
          .end(JSON.stringify({ job: { 'status-code': '201', id: ID, state: 'ACCEPTING' } }));
      else if (url.includes('state=')) response.end(JSON.stringify({ job: [{ id: ID, state: 'RUNNING' }] }));
      else response.end();
    });
  });
  return { arc, calls };
}

const says =
  (status: number, headers: Readonly<Record<string, string>> = {}): RequestListener =>
  (_request, response) => {
    response.writeHead(status, headers).end('<html><b>no</b></html>');
  };

test('a burst of errors is waited out where a request may be repeated, and ends as unknown where it lasts', async (t) => {
  const asksForStates = ({ url = '' }: IncomingMessage): boolean => url.includes('state=');
  const burst = await troubled(t, asksForStates, [says(500), says(502)]);
  t.like((await burst.arc.status([job(t)], { signal }))[0], { value: { state: 'running' } });
  t.is(burst.calls.length, 3);
  const lasting = await troubled(
    t,
    asksForStates,
    Array.from({ length: 9 }, () => says(503)),
  );
  const error = await t.throwsAsync<ApppotError>(lasting.arc.list({ signal }), { code: 'transport' });
  t.regex(error.message, /has an error of its own: 503 \(no\)/);
  t.is(lasting.calls.length, 3);
});

test('a submission is sent again after 429, which says that nothing was done, and after no other error', async (t) => {
  const creates = ({ method, url = '' }: IncomingMessage): boolean =>
    method === 'POST' && url.includes('action=new');
  const busy = await troubled(t, creates, [says(429, { 'retry-after': '1' })]);
  t.is((await submitAll(busy.arc, scriptSubmission('true'))).length, 1);
  t.is(busy.calls.length, 2);
  for (const answer of [says(500), says(503, { 'retry-after': '0' }), says(504)]) {
    const broken = await troubled(t, creates, [answer]);
    await t.throwsAsync(submitAll(broken.arc, scriptSubmission('true')), { code: 'transport' });
    t.is(broken.calls.length, 1, 'nobody knows whether it was taken');
  }
});

test('Retry-After is a number or a date; a site that asks for an hour is not waited for', async (t) => {
  const now = Date.parse('2026-11-21T12:00:00Z');
  t.is(retryAfter('7', now), 7);
  t.is(retryAfter('Sat, 21 Nov 2026 12:00:09 GMT', now), 9);
  t.is(retryAfter('Sat, 21 Nov 2026 11:00:00 GMT', now), 0);
  t.is(retryAfter('soon', now), undefined);
  t.is(retryAfter(undefined, now), undefined);
  const all = await troubled(t, () => true, [says(503, { 'retry-after': '3600' })]);
  const error = await t.throwsAsync<ApppotError>(all.arc.list({ signal }), { code: 'transport' });
  t.regex(error.message, /too busy: 503, and asks to wait for 3600 seconds/);
  t.is(all.calls.length, 1);
});

test('an upload goes on through errors of the site, and its size is looked at', async (t) => {
  const whole = content(4_000_000);
  const file = path.join(await newFolder(t), 'input file');
  await writeFile(file, whole);
  const there: Buffer[] = [];
  let puts = 0;
  const arc = await liar(t, (request, response) => {
    const { method = '', url = '' } = request;
    const size = there.reduce((sum, { length }) => sum + length, 0);
    if (method === 'PUT' && url.endsWith('/data')) {
      puts += 1;
      const first = Number(/^bytes (\d+)-/.exec(request.headers['content-range'] ?? '')?.[1] ?? 0);
      const kept = Buffer.concat(there).subarray(0, first);
      there.splice(0, there.length, kept);
      let came = 0;
      request.on('data', (chunk: Buffer) => {
        there.push(chunk);
        came += chunk.length;
        if (puts < 3 && came > 1_300_000) request.socket.destroy();
      });
      request.on('error', () => undefined);
      request.on('end', () => {
        if (puts === 3) response.writeHead(500).end();
        else response.end();
      });
      return;
    }
    request.resume().on('end', () => {
      if (method === 'POST')
        response
          .writeHead(201)
          .end(JSON.stringify({ job: { 'status-code': '201', id: ID, state: 'ACCEPTING' } }));
      else if (!lists(request, response, size > 0 ? [['data', size]] : [])) response.end();
    });
  });
  const submission = {
    ...scriptSubmission('true'),
    description: PLAIN,
    taskFiles: [[{ name: 'data', file }]],
  };
  await submitAll(arc, submission);
  t.true(Buffer.concat(there).equals(whole));
  t.true(puts >= 4);
});
