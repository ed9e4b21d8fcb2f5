import { execFile } from 'node:child_process';
import { readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { ArcBackend } from '../../src/grid/arc/backend.ts';
import { silent } from '../../src/progress.ts';
import { PLAIN, scriptSubmission, signal } from '../helpers/arc.ts';
import { newFolder } from '../helpers/guest.ts';
import { ID, job, liar, lists, makeKeys } from '../helpers/liar.ts';

const execute = promisify(execFile);
const FETCH = { signal, progress: silent, outputs: ['*'] };

for (const name of ['../evil', '..', 'a/b', '/etc/passwd'])
  test(`a server that lists a file called ${name} gets nothing written anywhere`, async (t) => {
    const arc = await liar(t, (request, response) => lists(request, response, [[name, 4]]));
    const folder = await newFolder(t);
    await t.throwsAsync(arc.fetch(job(t), path.join(folder, 'in'), FETCH), { code: 'target' });
    t.deepEqual(await readdir(folder), []);
  });

test('a server that sends more than it listed, or less, or without end, is not believed', async (t) => {
  const sizes: Readonly<Record<string, number>> = { more: 100_000, less: 3, 'no end': Infinity };
  const arc = await liar(t, (request, response) => {
    if (lists(request, response, [[state.name, 10]])) return;
    response.writeHead(206, { 'content-range': 'bytes 0-9/10' });
    const size = sizes[state.name] ?? 0;
    const send = (): void => {
      while (size === Infinity && !response.destroyed) if (!response.write('x'.repeat(65_536))) break;
    };
    response.on('drain', send);
    if (size === Infinity) send();
    else response.end('x'.repeat(size));
  });
  const state = { name: 'more' };
  for (const name of Object.keys(sizes)) {
    state.name = name;
    const folder = await newFolder(t);
    await t.throwsAsync(arc.fetch(job(t), folder, FETCH), { code: 'transport' });
    const left = (await readdir(folder)).filter((file) => !file.endsWith('.apppot-part'));
    t.deepEqual(left, []);
  }
});

test('results do not go through a link that lies in the folder', async (t) => {
  const arc = await liar(t, (request, response) => {
    if (!lists(request, response, [['result', 4]])) response.end('evil');
  });
  const folder = await newFolder(t);
  const precious = path.join(await newFolder(t), 'precious');
  await writeFile(precious, 'mine');
  await symlink(precious, path.join(folder, 'result'));
  await t.throwsAsync(arc.fetch(job(t), folder, FETCH), { code: 'exists' });
  t.is(await readFile(precious, 'utf8'), 'mine');
});

test('an answer that makes no sense leaves jobs unknown, not failed', async (t) => {
  const answers = ['{"job":', '<html>', '{"job":[{"id":"x"}]}'];
  const arc = await liar(t, (_request, response) => response.end(answers[0]));
  while (answers.length > 0) {
    const outcome = await arc.status([job(t)], { signal }).then(
      ([first]) => (first !== undefined && 'value' in first ? first.value.state : 'error'),
      (error: unknown) => (error as { code?: string }).code,
    );
    t.true(outcome === 'transport' || outcome === 'unknown');
    answers.shift();
  }
});

test('a server that falls silent in a submission leaves the answer open', async (t) => {
  const arc = await liar(t, (request) => request.socket.destroy());
  const accepted: number[] = [];
  const submit = arc.submit(scriptSubmission('true'), {
    signal,
    progress: silent,
    accepted: (position) => {
      accepted.push(position);
      return Promise.resolve();
    },
  });
  await t.throwsAsync(submit, { code: 'transport' });
  t.deepEqual(accepted, []);
});

test('a key that others can read is told of before anybody is asked', async (t) => {
  const requests: string[] = [];
  const arc = await liar(t, (request, response) => {
    requests.push(request.url ?? '');
    response.end('');
  });
  const endpoint = job(t).native.replace(/\/rest.*/, '');
  const open = await makeKeys(t);
  await execute('chmod', ['644', open.key]);
  const careless = new ArcBackend({
    ...{ name: 'careless', endpoint, certificate: open.certificate, key: open.key },
    caDir: open.certificate,
  });
  await t.throwsAsync(careless.list({ signal }), { code: 'credentials', message: /Others can read/ });
  t.deepEqual(requests, []);
  await arc.list({ signal });
  t.is(requests.length, 1);
});

test('a token goes into the header, and its end is told', async (t) => {
  const seen: (string | undefined)[] = [];
  const arc = await liar(t, (request, response) => {
    seen.push(request.headers.authorization);
    response.end('');
  });
  await arc.list({ signal });
  const token = (exp: number): string =>
    `x.${Buffer.from(JSON.stringify({ sub: 'me', exp })).toString('base64url')}.x`;
  const folder = await newFolder(t);
  const tokenFile = path.join(folder, 'token');
  const now = Math.floor(Date.now() / 1000);
  await writeFile(tokenFile, `${token(now + 3600)}\n`, { mode: 0o600 });
  const endpoint = job(t).native.replace(/\/rest.*/, '');
  const other = new ArcBackend({ name: 'token', endpoint, tokenFile, caDir: job(t).caDir });
  t.teardown(() => other.close());
  await other.list({ signal });
  await writeFile(tokenFile, token(now - 60));
  await t.throwsAsync(other.list({ signal }), {
    code: 'credentials',
    message: /has expired: it ended \d+ seconds ago, at 20/,
  });
  t.deepEqual(seen, [undefined, `Bearer ${token(now + 3600)}`]);
});

test('descriptions keep every character but the backslash that A-REX cannot take, and refuse those that their language has no way to write', async (t) => {
  const arc = await liar(t, (_request, response) => response.end(''));
  const name = `a "b" 'c' <d> & $(id) \`e\` @NAME@ \\ ;`;
  const submission = { ...scriptSubmission('true'), description: { ...PLAIN, name } };
  const adl = (await arc.preview(submission, 'adl')).get('job-0.adl') ?? '';
  t.true(adl.includes('<Name>a &#34;b&#34; &#39;c&#39; &#60;d&#62; &#38; $(id) `e` @NAME@ / ;-0</Name>'));
  const xrsl = (await arc.preview(submission, 'xrsl')).get('job-0.xrsl') ?? '';
  t.true(xrsl.includes(`(jobName = "a ""b"" 'c' <d> & $(id) \`e\` @NAME@ / ;-0")`));
  const bad = { ...submission, description: { ...PLAIN, name: 'a\nb' } };
  for (const format of ['adl', 'xrsl']) await t.throwsAsync(arc.preview(bad, format), { code: 'usage' });
  await t.throwsAsync(arc.preview(submission, 'jsdl'), { code: 'usage' });
});

test('fetching as a whole survives a server that lies, writes nothing outside, and goes on when it is honest', async (t) => {
  const honest = [['result', 5]] as const;
  const state: { files: readonly (readonly [string, number])[]; body: string } = {
    files: honest,
    body: 'good\n',
  };
  const arc = await liar(t, (request, response) => {
    const { method, url = '' } = request;
    if (method === 'PUT' || url.includes('action=kill')) {
      request.resume().on('end', () => response.end());
    } else if (method === 'POST') {
      request.resume();
      response
        .writeHead(201)
        .end(JSON.stringify({ job: { 'status-code': '201', id: ID, state: 'ACCEPTING' } }));
    } else if (url.includes('/jobs?state='))
      response.end(JSON.stringify({ job: [{ id: ID, state: 'FINISHED' }] }));
    else if (!lists(request, response, state.files)) {
      const wanted = url.endsWith('outcome.json') ? 'endless' : state.body;
      if (wanted !== 'endless') {
        response.end(wanted);
        return;
      }
      const send = (): void => {
        while (!response.destroyed) if (!response.write('x'.repeat(65_536))) break;
      };
      response.on('drain', send);
      send();
    }
  });
  await arc.close();
  const home = await newFolder(t);
  const folder = path.join(home, 'work');
  const config = path.join(home, 'config', 'apppot');
  await execute('mkdir', ['-p', folder, config]);
  const { native, caDir } = job(t);
  const values = [
    ...['type = arc', `endpoint = ${native.replace(/\/rest.*/, '')}`, `certificate = ${caDir}`],
    ...[`key = ${path.join(path.dirname(caDir), 'key.pem')}`, `ca_dir = ${caDir}`],
    ...['image = site:/none', 'runtime = /none', 'poll = 1'],
  ];
  await writeFile(path.join(config, 'apppot.ini'), `[target ce]\n${values.join('\n')}\n`);
  const apppot = (...words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
    new Promise((resolve) => {
      const env = {
        ...{ PATH: process.env['PATH'], HOME: home },
        ...{ XDG_CONFIG_HOME: path.join(home, 'config'), XDG_STATE_HOME: path.join(home, 'state') },
      };
      const main = packageFile('dist', 'src', 'cli', 'main.js');
      const child = execFile(
        process.execPath,
        [main, ...words],
        { cwd: folder, env },
        (_, stdout, stderr) => {
          resolve({ code: child.exitCode ?? 255, stdout, stderr });
        },
      );
    });
  const sent = await apppot(
    'submit',
    '--to',
    'ce',
    '-J',
    'lied',
    '-t',
    '5',
    '--stage-out',
    '*',
    '--',
    'true',
  );
  t.is(sent.code, 0, `said: ${sent.stderr}`);
  const others = async (): Promise<readonly string[]> =>
    (await readdir(home, { recursive: true }))
      .filter((name) => !/^(?:state|work[/]in|\.cache|\.config)/.test(name))
      .sort();
  const before = await others();
  const lies = [
    { files: [['../../evil', 5]], body: 'evil\n' },
    { files: [['result', 5]], body: 'much more than that\n' },
    { files: [['result', 500]], body: 'less\n' },
    { files: [['result', 500]], body: 'endless' },
  ] as const;
  for (const lie of lies) {
    Object.assign(state, lie);
    const { code, stderr } = await apppot('jobs', 'fetch', 'lied', '--into', 'in');
    t.is(code, 1, `said: ${stderr}`);
    t.regex(stderr, /^apppot: \S/m);
    t.notRegex(stderr, /bug|at .*\.js:\d/);
    t.deepEqual(await others(), before);
    const here = await readdir(path.join(folder, 'in')).catch(() => []);
    t.deepEqual(
      here.filter((name) => !name.endsWith('.apppot-part')),
      [],
    );
  }
  Object.assign(state, { files: honest, body: 'good\n' });
  const last = await apppot('jobs', 'fetch', 'lied', '--into', 'in');
  t.is(last.code, 0, `said: ${last.stderr}`);
  t.is(await readFile(path.join(folder, 'in', 'result'), 'utf8'), 'good\n');
});
