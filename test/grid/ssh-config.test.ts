import test from 'ava';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  findKnownKeys,
  fingerprint,
  judge,
  knownName,
  wantedAlgorithms,
} from '../../src/grid/transport/known-hosts.ts';
import { readHostSettings } from '../../src/grid/transport/ssh-config.ts';
import { parseHost } from '../../src/grid/transport/ssh-connect.ts';
import { run } from '../../src/process/run.ts';
import { requireOrSkip } from '../helpers/require.ts';

const CONFIG = (included: string): string => `
# Comments and blank lines say nothing.
Host bastion *.gate !bad.gate
  HostName=10.0.0.1
  User "gate keeper"
	Port 2200
Host vega
  HostName %h.example.org
  ProxyJump me@bastion:2201,other
  IdentityFile ~/.ssh/vega_%r
  IdentityFile "~/.ssh/with blank"
Match originalhost vega user root
  Port 2022
Match host vega.example.org,other
  IdentitiesOnly yes
Match !originalhost vega localuser nobody-at-all
  User wrong
Include ${included}
Host ???
  User three
Host *
  User fallback
  UserKnownHostsFile ~/.ssh/known_%n /dev/null
  Port 22
`;

for (const host of ['bastion', 'x.gate', 'bad.gate', 'vega', 'abc', 'inside', 'other', 'VEGA'])
  test(`the configuration says the same of ${host} as to ssh itself`, async (t) => {
    if (!requireOrSkip(t, existsSync('/usr/bin/ssh'), 'no ssh')) return;
    const folder = await mkdtemp(join(tmpdir(), 'apppot-ssh-'));
    await writeFile(join(folder, 'one.conf'), 'Host inside\n  Port 99\n  HostKeyAlias inner\n');
    await writeFile(join(folder, 'two.conf'), 'User included\n');
    const file = join(folder, 'config');
    await writeFile(file, CONFIG(`${folder}/*.conf`));
    const { stdout } = await run('ssh', ['-G', '-F', file, host]);
    const truth = new Map<string, string[]>();
    for (const line of stdout.split('\n')) {
      const [key = '', ...rest] = line.split(' ');
      truth.set(key, [...(truth.get(key) ?? []), rest.join(' ')]);
    }
    const ours = readHostSettings({ host, files: [file] });
    t.is(ours.hostName, truth.get('hostname')?.[0] ?? '');
    t.is(String(ours.port), truth.get('port')?.[0] ?? '');
    t.is(ours.user, truth.get('user')?.[0] ?? '');
    t.is(ours.proxyJump.join(','), truth.get('proxyjump')?.[0] ?? '');
    t.is(ours.identitiesOnly ? 'yes' : 'no', truth.get('identitiesonly')?.[0] ?? '');
    t.is(ours.hostKeyAlias, truth.get('hostkeyalias')?.[0]);
    const files = truth.get('identityfile') ?? [];
    // Without any of its own, ssh lists all kinds of keys that it knows of.
    const own = files.filter((one) => /vega|blank/.test(one));
    t.deepEqual(
      ours.identityFiles.filter((one) => /vega|blank/.test(one)),
      own.map((one) => one.replace('~', homedir()).replace('%r', ours.user)),
    );
    const known = (truth.get('userknownhostsfile')?.[0] ?? '').split(' ');
    t.deepEqual(
      ours.knownHostsFiles.slice(0, 2),
      known.map((one) => one.replace('~', homedir()).replace('%n', host)),
    );
  });

test('what the configuration asks for and is not followed is told', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'apppot-ssh-'));
  const file = join(folder, 'config');
  await writeFile(file, `Match exec "touch ${folder}/ran"\n  User x\nHost *\n  ProxyCommand nc %h %p\n`);
  const settings = readHostSettings({ host: 'a', files: [file] });
  t.deepEqual([...settings.ignored].sort(), ['Match exec', 'ProxyCommand']);
  t.false(existsSync(join(folder, 'ran')));
});

test('hosts are found in known_hosts as ssh-keygen finds them', async (t) => {
  if (!requireOrSkip(t, existsSync('/usr/bin/ssh-keygen'), 'no ssh-keygen')) return;
  const folder = await mkdtemp(join(tmpdir(), 'apppot-ssh-'));
  const keys: string[] = [];
  for (const type of ['ed25519', 'ecdsa', 'rsa']) {
    const file = join(folder, type);
    await run('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'x', '-f', file]);
    keys.push((await readFile(`${file}.pub`, 'utf8')).split(' ').slice(0, 2).join(' '));
  }
  const [ed = '', ec = '', rsa = ''] = keys;
  const known = join(folder, 'known_hosts');
  await writeFile(known, `alpha,[beta]:2222 ${ed}\ngamma ${rsa} comment\n[delta]:44 ${ec}\n`);
  await run('ssh-keygen', ['-H', '-f', known]);
  const hashed = await readFile(known, 'utf8');
  t.false(hashed.includes('alpha'));
  await writeFile(
    known,
    `${hashed}# comment\n*.zone,!bad.zone ${ed}\n@revoked gamma ${ec}\n@cert-authority * ${ec}\n`,
  );
  for (const name of ['alpha', 'beta', '[beta]:2222', 'gamma', '[delta]:44', 'x.zone', 'bad.zone', 'none']) {
    const { stdout } = await run('ssh-keygen', ['-F', name, '-f', known], { okCodes: [0, 1] });
    const truth = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    const ours = findKnownKeys([known, '/no/such/file'], name);
    t.is(ours.length, truth.length, `${name}: ${stdout}`);
  }
  const key = (text: string): Buffer => Buffer.from(text.split(' ')[1] ?? '', 'base64');
  const gamma = findKnownKeys([known], 'gamma');
  t.is(judge(gamma, key(rsa)).kind, 'known');
  t.is(judge(gamma, key(ec)).kind, 'revoked');
  t.is(judge(gamma, key(ed)).kind, 'changed');
  t.is(judge(findKnownKeys([known], 'none'), key(ed)).kind, 'unknown');
  const wanted = wantedAlgorithms(gamma);
  t.deepEqual(wanted.slice(0, 3), ['rsa-sha2-512', 'rsa-sha2-256', 'ssh-ed25519']);
  t.false(wanted.includes('ssh-rsa'));
  t.is(new Set(wanted).size, wanted.length);
  const shown = await run('ssh-keygen', ['-l', '-f', join(folder, 'rsa.pub')]);
  t.true(shown.stdout.includes(fingerprint(key(rsa))));
  t.is(knownName('Beta', 2222), '[beta]:2222');
});

test('hosts are written as ssh writes them', (t) => {
  t.deepEqual(parseHost('me@host:22'), { host: 'host', user: 'me', port: 22 });
  t.deepEqual(parseHost('a@b@host'), { host: 'host', user: 'a@b', port: undefined });
  t.deepEqual(parseHost('[::1]:2222'), { host: '::1', user: undefined, port: 2222 });
  for (const bad of ['', '-oProxyCommand=x', 'a:b:c', 'host:x']) t.throws(() => parseHost(bad));
});
