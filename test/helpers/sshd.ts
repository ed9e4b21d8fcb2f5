import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { run } from '../../src/process/run.ts';
import { plainPerson, type Person } from './cli.ts';
import { requireOrSkip } from './require.ts';

/** A real sshd on loopback, of a plain user, and an ssh configuration that leads to it. */
export interface Sshd {
  readonly folder: string;
  readonly port: number;
  readonly user: string;
  readonly person: Person;
  /** ssh configuration: the host `lab` (and `jump`, through it), with its key and known host. */
  readonly config: string;
  /** Writes another configuration: lines for `Host lab`, where the first value of a keyword counts. */
  configure(name: string, lines: readonly string[], knownHosts?: string): Promise<string>;
  readonly hostKey: string;
  /** A folder that the user there may write to. */
  newFolder(): Promise<string>;
  stop(): Promise<void>;
}

/** Starts sshd as a plain user, or skips the test. */
export async function startSshd(
  t: ExecutionContext,
  extra: readonly string[] = [],
): Promise<Sshd | undefined> {
  if (
    !requireOrSkip(t, existsSync('/usr/sbin/sshd') && existsSync('/usr/bin/ssh'), 'no sshd (openssh-server)')
  )
    return undefined;
  const folder = await mkdtemp('/tmp/apppot-sshd-');
  await chmod(folder, 0o755);
  const person = await plainPerson(folder);
  if (!requireOrSkip(t, person !== undefined, 'no plain user with subordinate ids') || person === undefined)
    return undefined;
  const user = (await run('id', ['-un', String(person.uid)])).stdout.trim();
  const own = async (path: string): Promise<void> => {
    if (process.getuid?.() === 0) await chown(path, person.uid, person.gid);
  };
  for (const [name, comment] of [
    ['host', 'the host'],
    ['id', 'the user'],
  ] as const)
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', join(folder, name)]);
  await own(join(folder, 'host'));
  await writeFile(join(folder, 'authorized_keys'), await readFile(join(folder, 'id.pub')));
  const port = await freePort();
  await writeFile(
    join(folder, 'sshd_config'),
    [
      `ListenAddress 127.0.0.1`,
      `Port ${port}`,
      `HostKey ${join(folder, 'host')}`,
      `PidFile none`,
      `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'MaxSessions 10',
      'MaxStartups 100',
      ...extra,
      '',
    ].join('\n'),
  );
  const words = [...person.prefix, '/usr/sbin/sshd', '-D', '-e', '-f', join(folder, 'sshd_config')];
  const child = spawn(words[0] ?? '', words.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  await listening(child, port, () => log);
  const [type = '', key = ''] = (await readFile(join(folder, 'host.pub'), 'utf8')).split(' ');
  const configure: Sshd['configure'] = async (name, lines, knownHosts) => {
    const known = join(folder, `known_hosts.${name}`);
    await writeFile(known, knownHosts ?? `the-lab ${type} ${key}\n`);
    const config = join(folder, `config.${name}`);
    const all = [
      ...lines,
      'HostName 127.0.0.1',
      `Port ${port}`,
      `User ${user}`,
      `IdentityFile "${join(folder, 'id')}"`,
      'IdentitiesOnly yes',
      'IdentityAgent none',
      'HostKeyAlias the-lab',
      `UserKnownHostsFile ${known}`,
      'GlobalKnownHostsFile /dev/null',
    ];
    await writeFile(config, `Host lab jump\n  ${all.join('\n  ')}\n`);
    return config;
  };
  const config = await configure('plain', []);
  return {
    folder,
    port,
    user,
    person,
    config,
    configure,
    hostKey: `${type} ${key}`,
    newFolder: async () => {
      const made = await mkdtemp(join(person.home, 'with blank-'));
      await own(made);
      return made;
    },
    stop: async () => {
      child.kill();
      if (child.exitCode === null) await once(child, 'exit');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A TCP proxy that can lose its connections. */
export interface Proxy {
  readonly port: number;
  /** Loses every connection now. */
  cut(): void;
  /** Loses a connection each time that this many further bytes have passed, so often. */
  cutAfter(bytes: number, times: number): void;
  /** How many connections were lost. */
  readonly cuts: () => number;
  stop(): Promise<void>;
}

export async function startProxy(target: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let cuts = 0;
  let left = Infinity;
  let every = Infinity;
  let times = 0;
  const cut = (): void => {
    if (sockets.size > 0) cuts += 1;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  const count = (chunk: Buffer): void => {
    left -= chunk.length;
    if (left > 0 || times === 0) return;
    times -= 1;
    left = every;
    cut();
  };
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('data', count);
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as { port: number }).port,
    cut,
    cutAfter: (bytes, often) => {
      left = every = bytes;
      times = often;
    },
    cuts: () => cuts,
    stop: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function listening(child: ChildProcess, port: number, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`sshd ended: ${log()}`);
    const socket = connect(port, '127.0.0.1');
    const reached = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false,
      ),
    ]);
    socket.destroy();
    if (reached) return;
    await sleep(50);
  }
  throw new Error(`sshd does not answer: ${log()}`);
}
