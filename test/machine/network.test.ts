import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server } from 'node:net';
import { lookup } from 'node:dns/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { guestParts, launch, newFolder, readOutcome, start } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

/** A server on the loopback that says who it is. */
async function server(t: ExecutionContext, text: string): Promise<number> {
  const listening: Server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(text);
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  t.teardown(() => listening.close());
  return (listening.address() as AddressInfo).port;
}

const reach = (address: string, port: number) =>
  `if exec 3<>/dev/tcp/${address}/${port}; then timeout 5 cat <&3; else echo unreachable; fi 2>/dev/null`;

test.serial(
  'the guest cannot reach a server on the loopback of the host, by any of its addresses',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const port = await server(t, 'SECRET');
    const script = ['10.0.2.2', '127.0.0.1', '10.0.2.3', '10.0.2.4', '0.0.0.0'].map((address) =>
      reach(address, port),
    );
    const ended = await start(t, parts, [
      '--',
      'timeout',
      '40',
      'bash',
      '-c',
      script.map((line) => `(${line})`).join('\n'),
    ]);
    t.notRegex(ended.stdout.toString(), /SECRET/);
    t.regex(ended.stdout.toString(), /unreachable/);
  },
);

test.serial('--host-loopback opens it', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const port = await server(t, 'from the host');
  const ended = await start(t, parts, ['--host-loopback', '--', 'bash', '-c', reach('10.0.2.2', port)]);
  t.is(ended.stdout.toString(), 'from the host');
});

test.serial('-p HOST:GUEST leads into the guest, from the loopback only', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const listening = createServer().listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  listening.close();
  await once(listening, 'close');
  const script = `import socket
s = socket.create_server(("0.0.0.0", 8080))
print("ready", flush=True)
c = s.accept()[0]
c.sendall(b"got " + c.recv(100))
c.close()`;
  const cwd = await newFolder(t);
  const guest = launch(parts, ['-p', `${port}:8080`, '--', 'python3', '-c', script], { cwd });
  await guest.shows('ready');
  const listeners = execFileSync('cat', ['/proc/net/tcp']).toString();
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  t.regex(listeners, new RegExp(`0100007F:${hex} `));
  t.notRegex(listeners, new RegExp(`00000000:${hex} 00000000:0000 0A`));
  const socket = connect(port, '127.0.0.1');
  socket.write('hello');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  t.is(Buffer.concat(chunks).toString(), 'got hello');
  t.is((await guest.ended).code, 0);
});

test.serial('a port that is taken is an error before anything starts', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const port = await server(t, 'taken');
  const ended = await launch(parts, ['--outcome', 'out.json', '-p', `${port}:80`, '--', 'true'], { cwd })
    .ended;
  t.is(ended.code, 125);
  t.regex(ended.stderr, new RegExp(`${port}`));
  t.truthy((await readOutcome(path.join(cwd, 'out.json'))).error?.code);
});

test.serial('--network none: a loopback and nothing else', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const script = 'ip -o -4 addr | cut -d " " -f 2; ip route; ip -o -6 addr show scope global';
  const ended = await start(t, parts, ['--network', 'none', '--', 'sh', '-c', script]);
  t.is(ended.stdout.toString(), 'lo\n');
});

test.serial('addresses, routes and frame size are as documented', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const script =
    'ip -4 -o addr show vec0; ip route; cat /sys/class/net/vec0/mtu /etc/resolv.conf; hostname; getent hosts "$(hostname)"';
  const { stdout } = await start(t, parts, ['--', 'sh', '-c', script]);
  t.regex(stdout.toString(), /10\.0\.2\.15\/24/);
  t.regex(stdout.toString(), /default via 10\.0\.2\.2/);
  t.regex(stdout.toString(), /^9000$/m);
  t.regex(stdout.toString(), /nameserver 10\.0\.2\.3/);
  t.regex(stdout.toString(), /127\.0\.1\.1\s+apppot/);
});

test.serial(
  'names are resolved in the guest where they are on the host, and not where they are not',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const host = await Promise.race([
      lookup('deb.debian.org', { family: 4 }).then(
        () => true,
        () => false,
      ),
      sleep(10_000, false),
    ]);
    const words = [
      '--',
      'sh',
      '-c',
      'timeout 15 getent ahostsv4 deb.debian.org >/dev/null && echo yes || echo no',
    ];
    const ended = await start(t, parts, words);
    t.is(ended.stdout.toString(), host ? 'yes\n' : 'no\n');
  },
);

test.serial('2 MB from a server of the host arrive whole', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const port = await server(t, 'x'.repeat(2_000_000));
  const script = `exec 3<>/dev/tcp/10.0.2.2/${port}; wc -c <&3`;
  const ended = await start(t, parts, ['--host-loopback', '--', 'bash', '-c', script]);
  t.is(ended.stdout.toString().trim(), '2000000');
});

test.serial('apt-get update works in the guest where the host reaches the mirror', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const mirror = await new Promise<boolean>((resolve) => {
    const socket = connect({ host: 'deb.debian.org', port: 80, timeout: 10_000 });
    socket
      .on('connect', () => {
        resolve(true);
      })
      .on('error', () => {
        resolve(false);
      });
    socket
      .on('timeout', () => {
        resolve(false);
      })
      .on('connect', () => socket.destroy());
  });
  if (!requireOrSkip(t, mirror, 'the host does not reach the Debian mirror')) return;
  const words = ['--', 'sudo', 'apt-get', '-o', 'Acquire::Retries=3', 'update'];
  const ended = await start(t, parts, words, { limit: 120_000 });
  t.is(ended.code, 0);
  t.regex(ended.stdout.toString(), /Reading package lists/);
});
