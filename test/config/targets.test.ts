import test from 'ava';
import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSettings } from '../../src/config/load.ts';
import { loadTarget, loadTargets, type ArcTarget, type SlurmTarget } from '../../src/config/targets.ts';
import { TARGET_KEYS } from '../../src/config/target-keys.ts';
import { ApppotError } from '../../src/errors.ts';
import { requireOrSkip } from '../helpers/require.ts';

/** System-wide settings with this text, and an environment that names them. */
async function withFile(text: string): Promise<{ env: NodeJS.ProcessEnv; file: string; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'apppot test '));
  await mkdir(join(folder, 'apppot'));
  const file = join(folder, 'apppot', 'apppot.ini');
  await writeFile(file, text);
  return { env: { XDG_CONFIG_DIRS: folder }, file, folder: join(folder, 'apppot') };
}

test('a target has its values, converted, and knows where each came from', async (t) => {
  const { env, file } = await withFile(
    `[target vega]\ntype = slurm\nssh = me@login.example:2222\noptions = --qos=long --comment="two words"\nmemory_overhead = 1G ; more\n`,
  );
  const target = loadTarget('vega', { ...env, APPPOT_TARGET_VEGA_PARTITION: 'fast' }) as SlurmTarget;
  t.is(target.ssh, 'me@login.example:2222');
  t.deepEqual(target.options, ['--qos=long', '--comment=two words']);
  t.is(target.memoryOverhead, 1024);
  t.is(target.partition, 'fast');
  t.is(target.origins.get('ssh'), `${file}:3`);
  t.is(target.origins.get('partition'), 'APPPOT_TARGET_VEGA_PARTITION');
});

test('paths of credentials start at home or beside the file', async (t) => {
  const { env, folder } = await withFile(
    '[target ce]\ntype = arc\nendpoint = https://ce.example/arex\ncertificate = ~/cert.pem\nkey = key.pem\n',
  );
  const target = loadTarget('ce', env) as ArcTarget;
  t.is(target.certificate, join(homedir(), 'cert.pem'));
  t.is(target.key, join(folder, 'key.pem'));
});

test('local is a target without being set, and an unknown one is said with those that are', async (t) => {
  const { env } = await withFile('');
  t.is(loadTarget('local', env).type, 'local');
  const error = t.throws(() => loadTarget('vega', env), { instanceOf: ApppotError });
  t.true(error.hint?.includes('Targets: local'));
});

test('every mistake in targets is named with file and line', async (t) => {
  const { env, file } = await withFile(
    [
      '[target a]',
      'type = slurm',
      'endpoint = https://x',
      'ssh = -oProxyCommand=evil',
      'parallel = many',
      '[target b]',
      'type = grid',
      '[target c.d]',
      '[target e]',
      'type = arc',
      'endpoint = https://x',
      'key = k.pem',
      '[target f]',
      'type = arc',
      'endpoint = https://x',
      'proxy = p.pem',
      'token_env = T',
      '[target g]',
      'type = slurm',
      'transport = openssh',
      'queue',
    ].join('\n'),
  );
  const { message } = t.throws(() => loadTargets(env), { instanceOf: ApppotError });
  for (const line of [
    `${file}:3: a target of type slurm has no "endpoint".`,
    `${file}:4: ssh must be [user@]host[:port], not "-oProxyCommand=evil".`,
    `${file}:5: parallel must be a whole number above 0, not "many".`,
    `${file}:7: target "b" needs type = local, slurm or arc.`,
    `${file}:8: [target c.d] is no target`,
    'certificate and key belong together.',
    `${file}:13: one of certificate, proxy, token_file and token_env, not 2 of them.`,
    `${file}:21: queue has no value.`,
  ])
    t.true(message.includes(line), `${line} in\n${message}`);
});

test('a later file stands for the whole target', async (t) => {
  const system = await withFile('[target x]\ntype = slurm\npartition = old\naccount = a\n');
  const user = await withFile('[target x]\ntype = slurm\npartition = new\n');
  const target = loadTarget('x', {
    XDG_CONFIG_DIRS: `${user.env['XDG_CONFIG_DIRS'] ?? ''}:${system.env['XDG_CONFIG_DIRS'] ?? ''}`,
  }) as SlurmTarget;
  t.is(target.partition, 'new');
  t.is(target.account, undefined);
});

test.serial('a project may not change a target of the user, nor name tokens', async (t) => {
  const { env } = await withFile('[target ce]\ntype = arc\nendpoint = https://ce.example\n');
  const project = await mkdtemp(join(tmpdir(), 'apppot test '));
  await writeFile(
    join(project, 'apppot.ini'),
    [
      '[target ce]',
      'type = arc',
      'endpoint = https://evil.example',
      '[target own]',
      'type = arc',
      'endpoint = https://evil.example',
      'token_file = /etc/passwd',
      '[target here]',
      'type = slurm',
      'path = /tmp/evil',
      'ssh_config = evil',
      'ssh = host',
      'runtime = /tmp/evil',
      '[target plain]',
      'type = arc',
      'endpoint = https://evil.example',
    ].join('\n'),
  );
  const before = process.cwd();
  process.chdir(project);
  const { message } = t.throws(() => loadTargets(env), { instanceOf: ApppotError });
  t.true(message.includes('apppot.ini:1: target "ce" is set in'));
  t.true(message.includes('apppot.ini:7: token_file belongs into your own'));
  for (const [line, key] of [
    [10, 'path'],
    [11, 'ssh_config'],
    [13, 'runtime'],
  ] as const)
    t.true(message.includes(`apppot.ini:${line}: ${key} belongs into your own`));
  // A token of the environment would go to whatever the project calls a site.
  t.true(message.includes('apppot.ini:14: a site that a project names gets no credentials by itself'));
  await writeFile(
    join(project, 'apppot.ini'),
    '[target plain]\ntype = arc\nendpoint = https://ce.example\n[target far]\ntype = slurm\nssh = me@host\n',
  );
  const targets = loadTargets({ ...env, APPPOT_TARGET_PLAIN_PROXY: '/my/proxy' });
  t.is((targets.get('plain') as ArcTarget).proxy, '/my/proxy');
  t.is(targets.get('far')?.type, 'slurm');
  await writeFile(join(project, 'apppot.ini'), '[runtime]\nhelper = /tmp/evil\n');
  t.throws(() => loadSettings(env), { message: /apppot\.ini:2: runtime\.helper belongs into your own/ });
  process.chdir(before);
});

test.serial('settings that somebody else left in the folder are not used', async (t) => {
  const { env } = await withFile('');
  const project = await mkdtemp(join(tmpdir(), 'apppot test '));
  const file = join(project, 'apppot.ini');
  const before = process.cwd();
  process.chdir(project);
  try {
    await writeFile(file, '[run]\nmem = 3G\n');
    t.is(loadSettings(env).mem?.value, '3G');
    await chmod(file, 0o646);
    t.throws(() => loadSettings(env), { message: /can be written by others/ });
    t.throws(() => loadTargets(env), { message: /can be written by others/ });
    await chmod(file, 0o644);
    if (!requireOrSkip(t, process.getuid?.() === 0, 'only root can give files away')) return;
    await chown(file, 4242, 4242);
    t.throws(() => loadSettings(env), { message: /belongs to somebody else/ });
    await rm(file);
    await writeFile(join(project, 'theirs'), '[run]\nmem = 3G\n');
    await chown(join(project, 'theirs'), 4242, 4242);
    await symlink('theirs', file);
    t.throws(() => loadSettings(env), { message: /belongs to somebody else/ });
  } finally {
    process.chdir(before);
  }
});

test('every key of a target is described', (t) => {
  for (const { ini, description } of Object.values(TARGET_KEYS)) {
    t.regex(ini, /^[a-z]+(?:_[a-z]+)*$/);
    t.true(description.endsWith('.'));
  }
});
