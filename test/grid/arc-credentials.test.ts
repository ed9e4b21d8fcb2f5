/** Who we are to a site, and who it is to us: everything that can be wrong with it is told in words, before it hurts. */
import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { ArcBackend } from '../../src/grid/arc/backend.ts';
import { loadAuthorities } from '../../src/grid/arc/authorities.ts';
import { loadCredentials } from '../../src/grid/arc/credentials.ts';
import { connectionError } from '../../src/grid/arc/refusals.ts';
import type { CredentialSettings } from '../../src/grid/arc/settings.ts';
import { endingSoon } from '../../src/grid/arc/submit.ts';
import type { ApppotError } from '../../src/errors.ts';
import { signal } from '../helpers/arc.ts';
import { newFolder } from '../helpers/guest.ts';
import { job, liar, makeKeys } from '../helpers/liar.ts';

const execute = promisify(execFile);
const DAY = 86_400;

/** A self-signed certificate with its key; the words go to openssl. */
async function certificate(
  t: ExecutionContext,
  subject: string,
  ...words: readonly string[]
): Promise<{ certificate: string; key: string }> {
  const folder = await newFolder(t);
  const [cert, key] = [path.join(folder, 'my cert.pem'), path.join(folder, 'my key.pem')];
  const more = words.includes('-days') ? words : [...words, '-days', '30'];
  await execute('openssl', [
    ...[
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-subj',
      subject,
      '-keyout',
      key,
      '-out',
      cert,
    ],
    ...(more.includes('-passout') ? more : ['-nodes', ...more]),
  ]);
  await chmod(key, 0o600);
  return { certificate: cert, key };
}

/** What reading them says; it has to be an error for people, with a hint. */
async function refused(
  t: ExecutionContext,
  settings: CredentialSettings,
  message: RegExp,
  hint: RegExp,
  now?: Date,
): Promise<void> {
  const error = await t.throwsAsync<ApppotError>(loadCredentials(settings, undefined, now), {
    code: 'credentials',
    message,
  });
  t.regex(error.hint ?? '', hint);
}

test('a plain certificate says when it ends: days before, against the time of the job, and after', async (t) => {
  const pair = await certificate(t, '/O=Grid/CN=Me');
  const found = await loadCredentials(pair);
  t.like(found, { kind: 'certificate', subject: '/O=Grid/CN=Me' });
  const end = found.expires?.getTime() ?? 0;
  const before = (seconds: number): Date => new Date(end - seconds * 1000);
  t.is(endingSoon(found, 10 * DAY, before(20 * DAY)), undefined);
  t.regex(
    endingSoon(found, 3600, before(5 * DAY)) ?? '',
    /^the certificate in .*my cert\.pem ends in 5 days; jobs run on without it, their results are fetched with a new one$/,
  );
  t.regex(
    endingSoon(found, 2 * DAY, before(5 * 3600)) ?? '',
    /ends in 5 hours, and the job may take 2 days; jobs run on/,
  );
  t.regex(
    endingSoon(found, 30 * DAY, before(20 * DAY)) ?? '',
    /ends in 20 days, and the job may take 30 days/,
  );
  await refused(
    t,
    pair,
    /^The certificate in .*my cert\.pem has expired: it ended 3 days ago, at 20\d\d-/,
    /Get a new one of the authority that issued it; jobs that run are not touched/,
    before(-3 * DAY),
  );
});

test('an expired certificate is told of before any request, by every command', async (t) => {
  let requests = 0;
  await liar(t, (_request, response) => {
    requests += 1;
    response.end('');
  });
  const folder = await newFolder(t);
  const expired = path.join(folder, 'expired.pem');
  // Its own key: only the time is wrong.
  const { key } = await certificate(t, '/CN=late');
  const request = path.join(folder, 'request.pem');
  await execute('openssl', ['req', '-new', '-key', key, '-subj', '/CN=late', '-out', request]);
  // openssl x509 makes none that has ended, openssl ca needs files of its own.
  await mkdir(path.join(folder, 'new'));
  await writeFile(path.join(folder, 'index'), '');
  await writeFile(path.join(folder, 'serial'), '01');
  await writeFile(
    path.join(folder, 'ca.cnf'),
    `[ca]\ndefault_ca=d\n[d]\ndatabase=${folder}/index\nserial=${folder}/serial\nnew_certs_dir=${folder}/new\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n`,
  );
  await execute('openssl', [
    ...['ca', '-batch', '-selfsign', '-config', path.join(folder, 'ca.cnf'), '-in', request, '-out', expired],
    ...['-keyfile', key, '-startdate', '20200101000000Z', '-enddate', '20210101000000Z', '-notext'],
  ]);
  const endpoint = job(t).native.replace(/\/rest.*/, '');
  const arc = new ArcBackend({ name: 'late', endpoint, certificate: expired, key, caDir: job(t).caDir });
  t.teardown(() => arc.close());
  const late = { code: 'credentials', message: /has expired: it ended \d+ days ago, at 2021-01-01T00:00:00/ };
  await t.throwsAsync(arc.list({ signal }), late);
  const [line] = await arc.check({ signal });
  t.like(line, { title: 'credentials', ok: false });
  t.regex(line?.hint ?? '', /Get a new one/);
  t.is(requests, 0);
});

test('a proxy of an ended certificate says that arcproxy alone will not do', async (t) => {
  const user = await certificate(t, '/O=Grid/CN=Me', '-days', '1');
  const folder = await newFolder(t);
  const file = (name: string): string => path.join(folder, name);
  const words = [
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    '/O=Grid/CN=Me/CN=77',
  ];
  await execute('openssl', [...words, '-keyout', file('key'), '-out', file('csr')]);
  const sign = async (days: string): Promise<string> => {
    const how = ['-CA', user.certificate, '-CAkey', user.key, '-set_serial', '7', '-days', days];
    await execute('openssl', ['x509', '-req', '-in', file('csr'), ...how, '-out', file('proxy.crt')]);
    const all = await Promise.all(
      [file('proxy.crt'), file('key'), user.certificate].map((one) => readFile(one, 'utf8')),
    );
    await writeFile(file('proxy'), all.join(''), { mode: 0o600 });
    return file('proxy');
  };
  const later = new Date(Date.now() + 2 * DAY * 1000);
  await refused(
    t,
    { proxy: await sign('30') },
    /has expired/,
    /certificate that it was made of has ended/,
    later,
  );
  // The proxy's own end comes first here.
  const long = await certificate(t, '/O=Grid/CN=Me', '-days', '300');
  Object.assign(user, long);
  await refused(t, { proxy: await sign('1') }, /has expired/, /^Make a new one with arcproxy;/, later);
});

test('files that are no pair, hold something else, or are not there are told apart, with what to do', async (t) => {
  const one = await certificate(t, '/CN=one');
  const other = await certificate(t, '/CN=other');
  const folder = await newFolder(t);
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(path.join(folder, name), text, { mode: 0o600 });
    return path.join(folder, name);
  };
  const mixed = { certificate: one.certificate, key: other.key };
  await refused(
    t,
    mixed,
    /key in .* does not belong to the certificate in .*/,
    /only one of the two files renewed/,
  );
  const garbage = await file('garbage', 'no PEM at all\n');
  await refused(t, { ...one, certificate: garbage }, /garbage holds no certificate/, /openssl pkcs12/);
  await refused(t, { ...one, key: garbage }, /garbage holds no private key/, /key of the target names it/);
  await refused(t, { proxy: one.certificate }, /Others can read/, /chmod 600/);
  await refused(
    t,
    { ...one, certificate: `${garbage}.none` },
    /there is no such file/,
    /of the target say where/,
  );
  await refused(t, { ...one, key: folder }, /Others can read|it is a folder/, /chmod|target/);
  const cert = await readFile(one.certificate, 'utf8');
  const lines = cert.split('\n');
  const broken = await file('broken', [...lines.slice(0, 3), ...lines.slice(5)].join('\n'));
  await refused(t, { ...one, certificate: broken }, /holds a damaged certificate/, /openssl x509/);
  const key = (await readFile(one.key, 'utf8')).split('\n');
  const half = await file('half', [...key.slice(0, 2), ...key.slice(3)].join('\n'));
  await refused(t, { ...one, key: half }, /holds a damaged private key/, /openssl pkey/);
  await chmod(one.key, 0o640);
  await refused(t, one, /Others can read .*my key\.pem/, /chmod 600/);
});

test('the passphrase of a key is asked for once, at a terminal; without one the hint names arcproxy', async (t) => {
  const seen: string[] = [];
  const server = await liar(t, (request, response) => {
    seen.push(request.url ?? '');
    response.end('');
  });
  await server.close();
  const pair = await certificate(t, '/CN=locked', '-passout', 'pass:open sesame');
  await refused(t, pair, /locked by a passphrase, and there is no terminal/, /arcproxy/);
  const questions: string[] = [];
  const answers = ['wrong', 'open sesame'];
  const ask = (question: string, { echo }: { readonly echo: boolean }): Promise<string> => {
    questions.push(`${question}${echo ? 'seen' : 'hidden'}`);
    return Promise.resolve(answers.shift() ?? 'wrong');
  };
  const endpoint = job(t).native.replace(/\/rest.*/, '');
  const arc = new ArcBackend({ name: 'locked', endpoint, ...pair, caDir: job(t).caDir }, { ask });
  t.teardown(() => arc.close());
  // Many at once; the key has to be open for TLS.
  await Promise.all([arc.list({ signal }), arc.list({ signal }), arc.list({ signal })]);
  await arc.list({ signal });
  t.is(seen.length, 4);
  t.deepEqual(
    questions,
    Array.from({ length: 2 }, () => `Passphrase of ${pair.key}: hidden`),
  );
  await t.throwsAsync(loadCredentials(pair, ask), { code: 'credentials', message: /not the passphrase/ });
  t.is(questions.length, 5);
  // Traditional PEM, as old tools write it.
  const old = path.join(await newFolder(t), 'old.pem');
  const text = await readFile(pair.key, 'utf8');
  const opened = createPrivateKey({ key: text, passphrase: 'open sesame' });
  const pem = opened.export({ type: 'sec1', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'old one' });
  await writeFile(old, pem, { mode: 0o600 });
  answers.push('old one');
  t.is((await loadCredentials({ ...pair, key: old }, ask)).kind, 'certificate');
});

test('a token comes from a file or a variable; one that is none, open to others or ended is told of', async (t) => {
  const folder = await newFolder(t);
  const jwt = (claims: object): string =>
    `${Buffer.from('{"alg":"RS256"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.sig`;
  const now = Math.floor(Date.now() / 1000);
  const tokenFile = path.join(folder, 'my token');
  await writeFile(tokenFile, `${jwt({ sub: 'me', exp: now + 3600 })}\n`, { mode: 0o600 });
  const found = await loadCredentials({ tokenFile });
  t.like(found, { kind: 'token', subject: 'me' });
  t.regex(
    endingSoon(found, 2 * DAY) ?? '',
    /^the token in .*my token ends in \d+ minutes, and the job may take 2 days/,
  );
  t.is(endingSoon(found, 600, new Date(Date.now() - 7200_000)), undefined);
  process.env['APPPOT_TEST_TOKEN'] = jwt({ exp: now - 7200 });
  await refused(
    t,
    { tokenEnv: 'APPPOT_TEST_TOKEN' },
    /The token in the variable APPPOT_TEST_TOKEN has expired: it ended 2 hours ago/,
    /oidc-token/,
  );
  process.env['APPPOT_TEST_TOKEN'] = 'opaque-token.of_some/site==';
  t.like(await loadCredentials({ tokenEnv: 'APPPOT_TEST_TOKEN' }), {
    kind: 'token',
    token: 'opaque-token.of_some/site==',
  });
  delete process.env['APPPOT_TEST_TOKEN'];
  await refused(
    t,
    { tokenEnv: 'APPPOT_TEST_TOKEN' },
    /no bearer token in the variable APPPOT_TEST_TOKEN/,
    /one line/,
  );
  await writeFile(tokenFile, '<html>\r\nEvil: header\n');
  await refused(t, { tokenFile }, /no bearer token in .*my token/, /one line/);
  await chmod(tokenFile, 0o644);
  await refused(t, { tokenFile }, /Others can read .*my token/, /chmod 600/);
  await refused(t, { tokenFile: `${tokenFile}.none` }, /there is no such file/, /token_file/);
});

test('a site of an unknown authority, of another name, or out of time gets nothing of ours', async (t) => {
  let requests = 0;
  await liar(t, (_request, response) => {
    requests += 1;
    response.end('');
  });
  const mine = await makeKeys(t);
  const endpoint = job(t).native.replace(/\/rest.*/, '');
  const says = async (more: { readonly endpoint?: string; readonly caDir: string }): Promise<ApppotError> => {
    const arc = new ArcBackend({
      name: 'x',
      endpoint,
      certificate: mine.certificate,
      key: mine.key,
      ...more,
    });
    t.teardown(() => arc.close());
    return t.throwsAsync<ApppotError>(arc.list({ signal }));
  };
  const unknown = await says({ caDir: mine.certificate });
  t.like(unknown, { code: 'credentials' });
  t.regex(unknown.message, /certificate of localhost:\d+ is not to be trusted: none of the authorities/);
  t.regex(unknown.hint ?? '', /ca_dir/);
  const other = await says({ caDir: job(t).caDir, endpoint: endpoint.replace('localhost', '127.0.0.1') });
  t.like(other, { code: 'credentials' });
  t.regex(other.message, /it is for another host \(DNS:localhost\)/);
  t.regex(other.hint ?? '', /endpoint of the target/);
  class Ended extends Error {
    readonly code = 'CERT_HAS_EXPIRED';
  }
  const late = connectionError('ce.example', new Ended('certificate has expired'));
  t.regex(late.message, /certificate has expired/);
  t.regex((late as { hint?: string }).hint ?? '', /clock says 20/);
  t.is(requests, 0);
});

test('a folder of authorities may hold hashed links, lists of revoked ones, damaged and unreadable files', async (t) => {
  let requests = 0;
  await liar(t, (_request, response) => {
    requests += 1;
    response.end('');
  });
  const folder = path.join(await newFolder(t), 'certificates of ours');
  await mkdir(folder);
  const empty = t.throws<ApppotError>(() => loadAuthorities(folder), { code: 'credentials' });
  t.regex(empty.message, /There is no certificate of an authority in/);
  await copyFile(job(t).caDir, path.join(folder, 'Real-CA.pem'));
  await execute('openssl', ['rehash', folder]);
  await writeFile(path.join(folder, 'Real-CA.signing_policy'), 'access_id_CA X509 x\n');
  await writeFile(
    path.join(folder, '0123abcd.r0'),
    '-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n',
  );
  const bad = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  await writeFile(path.join(folder, 'damaged.pem'), bad);
  await symlink('nowhere', path.join(folder, '89abcdef.0'));
  await mkdir(path.join(folder, 'folder.pem'));
  t.is(loadAuthorities(folder).length, 1);
  const mine = await makeKeys(t);
  const endpoint = job(t).native.replace(/\/rest.*/, '');
  const arc = new ArcBackend({
    name: 'x',
    endpoint,
    certificate: mine.certificate,
    key: mine.key,
    caDir: folder,
  });
  t.teardown(() => arc.close());
  await arc.list({ signal });
  t.is(requests, 1);
  const none = t.throws<ApppotError>(() => loadAuthorities(path.join(folder, 'none')), {
    code: 'credentials',
  });
  t.regex(none.message, /there is no such file/);
  t.regex(none.hint ?? '', /ca_dir/);
});
