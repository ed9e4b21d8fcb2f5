import { execFile } from 'node:child_process';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { RemoteJob, Submission } from '../../src/job/types.ts';
import { silent } from '../../src/progress.ts';
import { ArcClient } from '../../src/grid/arc/client.ts';
import { delegate, signProxy } from '../../src/grid/arc/delegation.ts';
import {
  arcBackend,
  arcSettings,
  PLAIN,
  scriptSubmission,
  signal,
  submitAll,
  untilEnded,
} from '../helpers/arc.ts';
import { gridLab, type GridLab } from '../helpers/grid.ts';
import { newFolder } from '../helpers/guest.ts';

const execute = promisify(execFile);

/** One of ARC's own programs, with a home folder of its own. */
async function arcTool(lab: GridLab, home: string, words: readonly string[]): Promise<string> {
  const client = lab.clients.root;
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    X509_USER_CERT: path.join(client, 'cert.pem'),
    X509_USER_KEY: path.join(client, 'key.pem'),
    X509_USER_PROXY: path.join(client, 'proxy.pem'),
    X509_CERT_DIR: lab.arc.caDir,
  };
  const [program = '', ...args] = words;
  return (await execute(program, args, { env, cwd: home, timeout: 60_000 })).stdout;
}

const HOSTILE = `q'u"o"te $(id) \`id\` & <b> \\ ; * ü`;

test('arcsub takes our xRSL, hostile names and all, and its job is one of ours to follow and fetch', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const arc = arcBackend(t, lab);
  const home = await newFolder(t);
  const input = `${HOSTILE.replaceAll('/', '')}.txt`;
  const submission: Submission = {
    ...scriptSubmission(`cat "$PWD"/*.txt >result; printf %s "$APPPOT_SUBMISSION" >mark; echo "$1" >>result`),
    description: { ...PLAIN, name: HOSTILE, stageOut: ['result', 'mark'] },
    taskFiles: [[{ name: input, content: Buffer.from('the input\n') }]],
  };
  const shown = await arc.preview(submission, 'xrsl');
  for (const [name, text] of shown) {
    const file = path.join(home, name.replace(/ \(task \d+\)$/, ''));
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  const words = ['arcsub', '-T', 'arcrest', '-C', lab.arc.endpoint, '-Q', 'NONE', 'job-0.xrsl'];
  const printed = await arcTool(lab, home, words);
  const native = /jobid: (\S+)/.exec(printed)?.[1];
  t.truthy(native);
  const job: RemoteJob = { native: native ?? '' };
  const [end] = await untilEnded(arc, [job]);
  t.is(end?.state, 'done');
  const folder = await newFolder(t);
  await arc.fetch(job, folder, { signal, progress: silent, outputs: ['result', 'mark'] });
  t.is(await readFile(path.join(folder, 'result'), 'utf8'), 'the input\n0\n');
  t.is(await readFile(path.join(folder, 'mark'), 'utf8'), `${submission.id}:0`);
});

test('arcstat knows a job of ours, arcget fetches its results; names reach A-REX as they are, but for backslashes', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const arc = arcBackend(t, lab);
  const home = await newFolder(t);
  const script = 'mkdir out; cat input* >out/copy; echo hello >stdout.txt';
  const submission: Submission = {
    ...scriptSubmission(script),
    description: { ...PLAIN, name: HOSTILE, stageOut: ['out'] },
    taskFiles: [[{ name: `input ${HOSTILE.replaceAll('/', '')}`, content: Buffer.from('in\n') }]],
  };
  const [job] = await submitAll(arc, submission);
  t.assert(job);
  if (job === undefined) return;
  t.is((await untilEnded(arc, [job]))[0]?.state, 'done');
  const client = new ArcClient(arcSettings(lab));
  t.teardown(() => client.http.close());
  const local = await client.diagnose(client.idOf(job.native), 'local', signal);
  t.true(local?.includes(`jobname=${HOSTILE.replaceAll('\\', '/')}-0\n`), `it says: ${local ?? ''}`);
  await arcTool(lab, home, ['arcsync', '-f', '-C', lab.arc.endpoint]);
  // What arcstat asks is renewed every few seconds only.
  let status = '';
  for (let tries = 0; tries < 60 && !/State: Finished/.test(status); tries++) {
    status = await arcTool(lab, home, ['arcstat', job.native]);
    await sleep(1000);
  }
  t.regex(status, /State: Finished/);
  await arcTool(lab, home, ['arcget', '-k', '-D', path.join(home, 'got'), job.native]);
  const [folder = ''] = await readdir(path.join(home, 'got'));
  t.is(await readFile(path.join(home, 'got', folder, 'out', 'copy'), 'utf8'), 'in\n');
});

test('A-REX takes a proxy that we signed, and openssl finds it sound (RFC 3820)', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const client = new ArcClient(arcSettings(lab));
  t.teardown(() => client.http.close());
  t.regex(await delegate(client, signal), /^\w+$/);
  const folder = await newFolder(t);
  const file = (name: string): string => path.join(folder, name);
  const request = ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=x', '-keyout', file('key')];
  await execute('openssl', [...request, '-out', file('csr')]);
  const csr = await readFile(file('csr'), 'utf8');
  await writeFile(file('chain'), await signProxy(csr, await client.http.credentials()));
  const authority = path.join(lab.arc.caDir, 'ARC-TestCA-lab.pem');
  const words = [
    'verify',
    '-allow_proxy_certs',
    '-CAfile',
    authority,
    '-untrusted',
    file('chain'),
    file('chain'),
  ];
  t.regex((await execute('openssl', words)).stdout, /OK/);
});
