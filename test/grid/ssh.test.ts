/** Who the host is, who we are, and connections that are lost: the same for both ways through ssh. */
import test, { type ExecutionContext } from 'ava';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageFile } from '../../src/config/paths.ts';
import { ApppotError } from '../../src/errors.ts';
import { createOpensshTransport } from '../../src/grid/transport/openssh.ts';
import type { Ask } from '../../src/grid/transport/ssh-auth.ts';
import { createSsh2Transport } from '../../src/grid/transport/ssh2.ts';
import type { Transport } from '../../src/grid/transport/transport.ts';
import { run } from '../../src/process/run.ts';
import { fixture } from '../helpers/fixture.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { startProxy, startSshd, type Sshd } from '../helpers/sshd.ts';

const { signal } = new AbortController();
let sshd: Sshd | undefined;

test.before(async (t) => {
  sshd = await startSshd(t);
});
test.after.always(async () => {
  await sshd?.stop();
});

type Connect = (config: string, host?: string) => Transport;
const KINDS: Readonly<Record<string, Connect>> = {
  ssh2: (config, host = 'lab') => createSsh2Transport({ host, files: [config] }),
  openssh: (config, host = 'lab') => createOpensshTransport({ host, files: [config] }),
};

/** A test against the sshd of this file. */
function on(title: string, work: (t: ExecutionContext, lab: Sshd) => Promise<void>): void {
  test(title, async (t) => {
    if (requireOrSkip(t, sshd !== undefined, 'no sshd') && sshd !== undefined) await work(t, sshd);
  });
}

for (const [kind, connect] of Object.entries(KINDS)) {
  const refusal = async (t: ExecutionContext, config: string): Promise<ApppotError> => {
    const there = connect(config);
    const error = await t.throwsAsync(there.run(['true'], { signal }), { instanceOf: ApppotError });
    await there.close();
    return error;
  };

  on(`${kind}: a host that is not known is refused, and not added`, async (t, lab) => {
    const config = await lab.configure(`${kind}-unknown`, [], '');
    const error = await refusal(t, config);
    t.is(error.code, 'credentials');
    t.regex(error.hint ?? '', /ssh/);
    t.is(await readFile(join(lab.folder, `known_hosts.${kind}-unknown`), 'utf8'), '');
  });

  on(
    `${kind}: a host that changed its key is refused, even where the configuration would not`,
    async (t, lab) => {
      const other = join(lab.folder, `other-${kind}`);
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', other]);
      const key = (await readFile(`${other}.pub`, 'utf8')).trim();
      const config = await lab.configure(`${kind}-changed`, ['StrictHostKeyChecking no'], `the-lab ${key}\n`);
      const error = await refusal(t, config);
      t.is(error.code, 'credentials');
      t.regex(error.message, /change/i);
    },
  );

  on(`${kind}: a revoked key is refused`, async (t, lab) => {
    const lines = `the-lab ${lab.hostKey}\n@revoked * ${lab.hostKey}\n`;
    const error = await refusal(t, await lab.configure(`${kind}-revoked`, [], lines));
    t.is(error.code, 'credentials');
    t.regex(error.message, /revoked/i);
  });

  on(`${kind}: a login that is refused says what was tried`, async (t, lab) => {
    const error = await refusal(t, await lab.configure(`${kind}-nobody`, ['User nobody']));
    t.is(error.code, 'credentials');
    t.regex(error.message, kind === 'ssh2' ? /\/id\b/ : /publickey/);
  });

  on(`${kind}: a host that cannot be reached is told, and may be tried again`, async (t, lab) => {
    const error = await refusal(t, await lab.configure(`${kind}-closed`, ['Port 9']));
    t.is(error.code, 'transport');
    t.true(error.transient);
  });

  on(`${kind}: the way leads through another host`, async (t, lab) => {
    const config = await lab.configure(`${kind}-jump`, []);
    const inner = join(lab.folder, `config.${kind}-through`);
    await writeFile(
      inner,
      `Host inner\n  HostName localhost\n  ProxyJump jump\n${await readFile(config, 'utf8')}`,
    );
    // The inner host has the same settings otherwise.
    await writeFile(inner, (await readFile(inner, 'utf8')).replace('Host lab jump', 'Host lab jump inner'));
    const there = connect(inner, 'inner');
    const { stdout } = await there.run(['sh', '-c', 'echo "$SSH_CONNECTION"'], { signal });
    t.regex(stdout, /^(?:127\.0\.0\.1|::1) /);
    await there.close();
  });

  on(`${kind}: an upload and a download go on after each cut, and arrive whole`, async (t, lab) => {
    const proxy = await startProxy(lab.port);
    const there = connect(await lab.configure(`${kind}-proxy`, [`Port ${proxy.port}`]));
    const folder = await lab.newFolder();
    const here = await mkdtemp(join(tmpdir(), 'apppot test '));
    const content = randomBytes(12_000_000);
    await writeFile(join(here, 'big'), content);
    await there.home(signal);
    let sent = 0;
    proxy.cutAfter(4_000_000, 2);
    await there.put(join(here, 'big'), join(folder, 'big'), { signal, onBytes: (sum) => (sent = sum) });
    t.is(sent, content.length);
    t.true((await readFile(join(folder, 'big'))).equals(content));
    t.is(proxy.cuts(), 2);
    proxy.cutAfter(4_000_000, 2);
    await there.get(join(folder, 'big'), join(here, 'back'), { signal });
    t.true((await readFile(join(here, 'back'))).equals(content));
    t.is(proxy.cuts(), 4);
    t.deepEqual(await readdir(folder), ['big']);
    t.deepEqual((await readdir(here)).sort(), ['back', 'big']);
    // Resumed, not repeated: with 4 MB for each connection, 12 MB arrive no other way.
    await there.close();
    await proxy.stop();
  });

  on(`${kind}: a command that was cut is never run again, and the next one is`, async (t, lab) => {
    const proxy = await startProxy(lab.port);
    const there = connect(await lab.configure(`${kind}-cut`, [`Port ${proxy.port}`]));
    const folder = await lab.newFolder();
    const cut = there.run(['sh', '-c', 'echo once >>"$1"; sleep 5', 'sh', join(folder, 'log')], { signal });
    while (!existsSync(join(folder, 'log'))) await sleep(20);
    proxy.cut();
    const error = await t.throwsAsync(cut, { instanceOf: ApppotError });
    t.is(error.code, 'transport');
    t.is((await there.run(['true'], { signal })).code, 0);
    t.is(await readFile(join(folder, 'log'), 'utf8'), 'once\n');
    await there.close();
    await proxy.stop();
  });

  on(`${kind}: start-up files that print, and logins shells of any kind, do no harm`, async (t, lab) => {
    const noise = join(lab.folder, `noise-${kind}`);
    const shells = ['/bin/bash', '/bin/dash', '/bin/tcsh', '/usr/bin/fish', '/usr/bin/zsh'].filter(
      existsSync,
    );
    for (const shell of shells) {
      await writeFile(
        noise,
        `#!/bin/sh\necho Welcome; echo warning >&2\nexec ${shell} -c "$SSH_ORIGINAL_COMMAND"\n`,
        {
          mode: 0o755,
        },
      );
      const noisy = await startSshd(t, [`ForceCommand sh ${noise}`]);
      if (noisy === undefined) return;
      const there = connect(noisy.config);
      const words = ['printf', '%s|', "it's", '$HOME', 'a\nb', '!x', '\\', 'ä', '`id`'] as const;
      const { stdout, code } = await there.run(words, { signal });
      t.is(stdout, "it's|$HOME|a\nb|!x|\\|ä|`id`|", shell);
      t.is(code, 0);
      await there.close();
      await noisy.stop();
    }
  });

  on(`${kind}: twenty commands at once are all answered`, async (t, lab) => {
    const there = connect(lab.config);
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        there.run(['sh', '-c', 'sleep 0.2; echo "$1"', 'sh', String(at)], { signal }),
      ),
    );
    t.deepEqual(
      all.map(({ stdout }) => stdout.trim()),
      Array.from({ length: 20 }, (_, at) => String(at)),
    );
    await there.close();
  });

  on(`${kind}: clients that upload the same at once do not disturb each other`, async (t, lab) => {
    const folder = await lab.newFolder();
    const content = randomBytes(2_000_000);
    const clients = [1, 2, 3].map(() => connect(lab.config));
    const target = join(folder, 'x');
    await Promise.all(clients.map((there) => there.put(content, target, { signal, resumeKey: 'digest' })));
    t.true((await readFile(target)).equals(content));
    t.deepEqual(await readdir(folder), ['x']);
    for (const there of clients) await there.close();
  });

  on(`${kind}: an upload of a killed client goes on`, async (t, lab) => {
    const folder = await lab.newFolder();
    const content = randomBytes(3_000_000);
    const there = connect(lab.config);
    const abort = new AbortController();
    await t.throwsAsync(
      there.put(content, join(folder, 'x'), {
        signal: abort.signal,
        resumeKey: 'digest',
        onBytes: () => {
          abort.abort(new ApppotError('interrupted', 'killed'));
        },
      }),
    );
    const part = join(folder, '.x.digest.apppot-part');
    await there.put(content.subarray(0, 2_000_000), part, { signal });
    const sums: number[] = [];
    await there.put(content, join(folder, 'x'), {
      signal,
      resumeKey: 'digest',
      onBytes: (sum) => sums.push(sum),
    });
    t.true((sums[0] ?? 0) > 1_900_000);
    t.true((await readFile(join(folder, 'x'))).equals(content));
    await there.close();
  });
}

on('ssh2: an agent has the key, and only the keys that the configuration names are shown', async (t, lab) => {
  const socket = join(lab.folder, 'agent');
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
  while (!existsSync(socket)) await sleep(20);
  const env = { SSH_AUTH_SOCK: socket };
  for (let at = 0; at < 8; at += 1) {
    const file = join(lab.folder, `wrong${at}`);
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
    await run('ssh-add', ['-q', file], { env });
  }
  await run('ssh-add', ['-q', join(lab.folder, 'id')], { env });
  // The private key is not here: only its public part names it.
  const named = join(lab.folder, 'elsewhere');
  await copyFile(join(lab.folder, 'id.pub'), `${named}.pub`);
  const file = await lab.configure('agent', [`IdentityAgent ${socket}`]);
  await writeFile(file, (await readFile(file, 'utf8')).replace(/IdentityFile .*/, `IdentityFile ${named}`));
  const there = createSsh2Transport({ host: 'lab', files: [file] });
  t.is((await there.run(['true'], { signal })).code, 0);
  await there.close();
  agent.kill();
});

on(
  'ssh2: the passphrase of a key is asked for on a terminal, and said to be missing elsewhere',
  async (t, lab) => {
    const file = join(lab.folder, 'locked');
    await copyFile(join(lab.folder, 'id'), file);
    await run('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'open sesame', '-f', file]);
    const config = await lab.configure('locked', []);
    await writeFile(
      config,
      (await readFile(config, 'utf8')).replace(/IdentityFile .*/, `IdentityFile ${file}`),
    );
    const closed = createSsh2Transport({ host: 'lab', files: [config] });
    const error = await t.throwsAsync(closed.run(['true'], { signal }), { instanceOf: ApppotError });
    t.regex(error.message, /has a passphrase/);
    await closed.close();
    const questions: string[] = [];
    const ask: Ask = (question, { echo }) => {
      questions.push(`${question}${String(echo)}`);
      return Promise.resolve('open sesame');
    };
    const open = createSsh2Transport({ host: 'lab', files: [config] }, { ask });
    t.is((await open.run(['true'], { signal })).code, 0);
    t.deepEqual(questions, [`Passphrase of ${file}: false`]);
    await open.close();
  },
);

test('ssh2: questions of the host are passed on, without escape sequences, and second factors follow', async (t) => {
  const { default: ssh2 } = await import('ssh2');
  const folder = await mkdtemp(join(tmpdir(), 'apppot-ssh-'));
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'host')]);
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'id')]);
  const asked: string[][] = [];
  const server = new ssh2.Server({ hostKeys: [await readFile(join(folder, 'host'))] }, (client) => {
    let key = false;
    client.on('authentication', (context) => {
      if (context.method === 'publickey') {
        if (context.signature === undefined) {
          context.accept();
          return;
        }
        key = true;
        context.reject(['keyboard-interactive'], true);
      } else if (context.method === 'keyboard-interactive' && key) {
        context.prompt([{ prompt: 'Code\u001B[2J: ', echo: true }], 'Token', 'Say it', (answers) => {
          asked.push(answers);
          if (answers[0] === '123456') context.accept();
          else context.reject();
        });
      } else context.reject(['publickey']);
    });
    client.on('error', () => undefined);
    client.on('session', (accept) => {
      accept().on('exec', (acceptExec) => {
        const channel = acceptExec();
        channel.write('\u001Eapppot\u001Ehello');
        channel.stderr.write('\u001Eapppot\u001E0\n');
        channel.exit(0);
        channel.end();
      });
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      resolve();
    });
  });
  const { port } = server.address() as { port: number };
  const [type = '', key = ''] = (await readFile(join(folder, 'host.pub'), 'utf8')).split(' ');
  await writeFile(join(folder, 'known_hosts'), `[127.0.0.1]:${port} ${type} ${key}\n`);
  const config = join(folder, 'config');
  await writeFile(
    config,
    `Host otp\n HostName 127.0.0.1\n Port ${port}\n User x\n IdentityFile ${join(folder, 'id')}\n IdentityAgent none\n UserKnownHostsFile ${join(folder, 'known_hosts')}\n`,
  );
  const questions: string[] = [];
  const there = createSsh2Transport(
    { host: 'otp', files: [config] },
    {
      ask: (question) => {
        questions.push(question);
        return Promise.resolve('123456');
      },
    },
  );
  t.is((await there.run(['anything'], { signal })).stdout, 'hello');
  t.deepEqual(asked, [['123456']]);
  t.deepEqual(questions, ['Say it\nCode?[2J: ']);
  await there.close();
  await new Promise((resolve) => server.close(resolve));
});

for (const [kind, connect] of Object.entries(KINDS)) {
  on(
    `${kind}: hashed names are known, and another kind of key than the known one is a change`,
    async (t, lab) => {
      const hashed = await lab.configure(`${kind}-hashed`, []);
      const known = join(lab.folder, `known_hosts.${kind}-hashed`);
      await run('ssh-keygen', ['-q', '-H', '-f', known]);
      t.false((await readFile(known, 'utf8')).includes('the-lab'));
      const there = connect(hashed);
      t.is((await there.run(['true'], { signal })).code, 0);
      await there.close();
      const file = join(lab.folder, `rsa-${kind}`);
      await run('ssh-keygen', ['-q', '-t', 'rsa', '-N', '', '-f', file]);
      const rsa = (await readFile(`${file}.pub`, 'utf8')).trim();
      const other = connect(await lab.configure(`${kind}-kind`, [], `the-lab ${rsa}\n`));
      const error = await t.throwsAsync(other.run(['true'], { signal }), { instanceOf: ApppotError });
      await other.close();
      t.is(error.code, 'credentials');
      t.regex(error.message, /changed: it shows .*known_hosts\.\S+-kind:1/);
    },
  );

  on(`${kind}: an authority makes no host known that shows a plain key`, async (t, lab) => {
    const there = connect(await lab.configure(`${kind}-authority`, [], `@cert-authority * ${lab.hostKey}\n`));
    const error = await t.throwsAsync(there.run(['true'], { signal }), { instanceOf: ApppotError });
    await there.close();
    t.is(error.code, 'credentials');
    t.regex(error.message, /not known/);
    if (kind === 'ssh2') t.regex(error.hint ?? '', /authority vouches for it .*transport = openssh/);
  });
}

test('openssh: a one-time code is asked for on the terminal of the person, and once for a whole command', async (t) => {
  const pty = await fixture(t, 'pty');
  if (pty === undefined || !requireOrSkip(t, existsSync('/usr/bin/ssh'), 'no ssh')) return;
  const { default: ssh2 } = await import('ssh2');
  const folder = await mkdtemp(join(tmpdir(), 'apppot-otp-'));
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'host')]);
  let [logins, commands] = [0, 0];
  const server = new ssh2.Server({ hostKeys: [await readFile(join(folder, 'host'))] }, (client) => {
    client.on('error', () => undefined);
    client.on('authentication', (context) => {
      if (context.method !== 'keyboard-interactive') {
        context.reject(['keyboard-interactive']);
        return;
      }
      context.prompt([{ prompt: 'Code: ', echo: false }], 'Token', '', (answers) => {
        if (answers[0] !== '123456') context.reject();
        else {
          logins += 1;
          context.accept();
        }
      });
    });
    client.on('session', (accept) => {
      const session = accept();
      session.on('env', (acceptEnv) => {
        (acceptEnv as (() => void) | undefined)?.();
      });
      session.on('exec', (acceptExec, _reject, { command }) => {
        const channel = acceptExec();
        commands += 1;
        const child = spawn('/bin/sh', ['-c', command], { env: { PATH: '/usr/bin:/bin', HOME: folder } });
        channel.pipe(child.stdin).on('error', () => undefined);
        child.stdout.pipe(channel, { end: false });
        child.stderr.pipe(channel.stderr, { end: false });
        child.on('close', (code) => {
          channel.exit(code ?? 1);
          channel.end();
        });
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
  });
  const port = String((server.address() as { port: number }).port);
  const hostKey = (await readFile(join(folder, 'host.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
  await writeFile(join(folder, 'known'), `[127.0.0.1]:${port} ${hostKey}\n`);
  const config = join(folder, 'config');
  await writeFile(
    config,
    `Host otp\n HostName 127.0.0.1\n Port ${port}\n User x\n IdentityAgent none\n UserKnownHostsFile ${folder}/known\n`,
  );
  await mkdir(join(folder, 'apppot'));
  await writeFile(
    join(folder, 'apppot', 'apppot.ini'),
    `[target otp]\ntype = slurm\nssh = otp\ntransport = openssh\nssh_config = ${config}\n`,
  );
  const main = packageFile('dist', 'src', 'cli', 'main.js');
  const log = join(folder, 'log');
  const steps = ['--expect', 'Code: ', '--send', '123456\\r'];
  const words = ['--timeout', '60', '--log', log, ...steps, '--', process.execPath, main];
  await run(pty, [...words, 'targets', 'check', 'otp'], {
    okCodes: 'any',
    env: { XDG_CONFIG_HOME: folder, HOME: folder, TERM: 'dumb' },
  });
  const shown = await readFile(log, 'utf8');
  t.is(logins, 1);
  t.true(commands > 1);
  t.is(shown.split('Code: ').length, 2);
  t.false(shown.includes('123456'));
  t.regex(shown, /sbatch/);
});
