/** apppot targets, against a real sshd and a real web server, as a plain user. */
import test from 'ava';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publicPackage, type PublicPackage } from '../helpers/cli.ts';
import { startSshd, type Sshd } from '../helpers/sshd.ts';
import { requireOrSkip } from '../helpers/require.ts';

let sshd: Sshd | undefined;
let apppot: PublicPackage | undefined;
let config = '';

test.before(async (t) => {
  sshd = await startSshd(t);
  if (sshd === undefined) return;
  apppot = await publicPackage();
  const { person, folder } = sshd;
  const own = (path: string) => (process.getuid?.() === 0 ? chown(path, person.uid, person.gid) : undefined);
  await own(join(folder, 'id'));
  config = join(person.home, 'config');
  await mkdir(join(config, 'apppot'), { recursive: true });
  // A built runtime, as far as staging is concerned: files with these names.
  const runtime = join(person.home, 'runtime');
  await mkdir(runtime);
  for (const name of ['linux', 'slirp', 'apppot-start'])
    await writeFile(join(runtime, name), `#!/bin/sh\n: ${name}\n`, { mode: 0o755 });
  await writeFile(join(person.home, 'my image.img'), Buffer.alloc(3_000_000, 'image'));
  await chmod(join(person.home, 'my image.img'), 0o644);
});
test.after.always(async () => {
  await sshd?.stop();
  await apppot?.remove();
});

/** Runs apppot as the plain user with these settings. */
async function call(lab: Sshd, words: readonly string[], settings: string) {
  const folder = await mkdtemp(join(config, 'case-'));
  await mkdir(join(folder, 'apppot'));
  await writeFile(join(folder, 'apppot', 'apppot.ini'), settings);
  await chmod(folder, 0o755);
  const { person } = lab;
  const env = { XDG_CONFIG_HOME: folder, APPPOT_RUNTIME: join(person.home, 'runtime') };
  const result = await apppot?.cli(words, { cwd: person.home, person, env });
  if (result === undefined) throw new Error('no package');
  return result;
}

const cases = [
  ['ssh2', ''],
  ['openssh', 'transport = openssh\n'],
] as const;
for (const [kind, line] of cases)
  test(`${kind}: what is staged has versioned names, and is sent once`, async (t) => {
    if (!requireOrSkip(t, sshd !== undefined, 'no sshd') || sshd === undefined) return;
    const site = await sshd.newFolder();
    const settings = `[target there]\ntype = slurm\nssh = lab\nssh_config = ${sshd.config}\nfolder = ${site}\n${line}`;
    const words = ['targets', 'stage', 'there', '--image', 'my image.img', '--json'];
    const plan = await call(sshd, [...words, '--dry-run'], settings);
    t.is(plan.code, 0, `said: ${plan.stderr}`);
    t.deepEqual(await readdir(site), []);
    const first = await call(sshd, words, settings);
    t.is(first.code, 0, `said: ${first.stderr}`);
    const { staged, settings: lines } = JSON.parse(first.stdout) as {
      staged: { place: string; sent: boolean; item: { digest: string } }[];
      settings: string[];
    };
    t.is(staged.length, 4);
    t.true(staged.every(({ sent }) => sent));
    const image = staged.at(-1)?.place ?? '';
    t.regex(image, /\/images\/my_image-[0-9a-f]{16}\.img$/);
    t.is(lines.at(-1), `image = site:${image}`);
    t.true((await readFile(image)).equals(await readFile(join(sshd.person.home, 'my image.img'))));
    t.is((await stat(staged[0]?.place ?? '')).mode & 0o100, 0o100);
    const second = await call(sshd, words, settings);
    t.true((JSON.parse(second.stdout) as { staged: { sent: boolean }[] }).staged.every(({ sent }) => !sent));
    // Damaged in place, with the same size: noticed, and mended.
    await writeFile(join(site, 'store', staged.at(-1)?.item.digest ?? ''), Buffer.alloc(3_000_000, 'other'));
    const third = await call(sshd, words, settings);
    t.deepEqual(
      (JSON.parse(third.stdout) as { staged: { sent: boolean }[] }).staged.map(({ sent }) => sent),
      [false, false, false, true],
    );
  });

test('a check tells of a host that is not known, of a folder that is refused, and of what is missing', async (t) => {
  if (!requireOrSkip(t, sshd !== undefined, 'no sshd') || sshd === undefined) return;
  const stranger = await sshd.configure('check-unknown', [], '');
  const target = '[target there]\ntype = slurm\nssh = lab\n';
  const unknown = await call(sshd, ['targets', 'check', 'there'], `${target}ssh_config = ${stranger}\n`);
  t.is(unknown.code, 1);
  t.regex(unknown.stdout, /WRONG\s+connection .*SHA256:/);
  const refused = await call(
    sshd,
    ['targets', 'check', 'there'],
    `${target}ssh_config = ${sshd.config}\nfolder = /proc/none\n`,
  );
  t.is(refused.code, 1);
  t.regex(refused.stdout, /ok\s+connection/);
  t.regex(refused.stdout, /WRONG.*\/proc\/none/);
  // Node's own mkdir never ends there.
  const endless = await call(
    sshd,
    ['targets', 'check', 'here'],
    '[target here]\ntype = slurm\nfolder = /proc/none\n',
  );
  t.is(endless.code, 1);
  t.regex(endless.stdout, /WRONG\s+site\s+Cannot make the folder \/proc\/none/);
  const closed = await call(
    sshd,
    ['targets', 'check', 'there'],
    '[target there]\ntype = slurm\nssh = me@localhost:1\n',
  );
  t.is(closed.code, 1);
  t.regex(closed.stdout, /WRONG\s+connection\s+Cannot reach me@localhost:1: /);
  const site = await sshd.newFolder();
  const missing = await call(
    sshd,
    ['targets', 'check', 'there'],
    `${target}ssh_config = ${sshd.config}\nfolder = ${site}\nimage = site:/no/such.img\n`,
  );
  t.is(missing.code, 1);
  t.regex(missing.stdout, /WRONG\s+image\s+site:\/no\/such\.img/);
  t.regex(missing.stdout, /targets stage there --image/);
});

test('web space gets files by PUT, and where it takes none the user is told what to copy', async (t) => {
  if (!requireOrSkip(t, sshd !== undefined, 'no sshd') || sshd === undefined) return;
  const files = new Map<string, Buffer>();
  let puts = 0;
  const server = createServer((request, response) => {
    const url = request.url ?? '';
    if (request.method === 'PUT' && url.startsWith('/open/')) {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        puts += 1;
        files.set(url, Buffer.concat(chunks));
        response.writeHead(201).end();
      });
      return;
    }
    request.resume();
    const found = files.get(url);
    if (request.method === 'PUT') response.writeHead(405).end();
    else if (url.startsWith('/endless/')) {
      response.writeHead(200);
      const timer = setInterval(() => response.write(Buffer.alloc(1_000_000)), 1);
      response.on('close', () => {
        clearInterval(timer);
      });
      if (request.method === 'HEAD') response.end();
    } else if (found === undefined) response.writeHead(404).end();
    else
      response
        .writeHead(200, { 'content-length': found.length })
        .end(request.method === 'HEAD' ? undefined : found);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const base = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  const settings = (path: string) =>
    `[target ce]\ntype = arc\nendpoint = https://x\nbase_url = ${base}/${path}\n`;
  const words = ['targets', 'stage', 'ce', '--image', 'my image.img'];
  const open = await call(sshd, words, settings('open/space'));
  t.is(open.code, 0, `said: ${open.stderr}`);
  t.is(puts, 4);
  t.is((await call(sshd, words, settings('open/space/'))).code, 0);
  t.is(puts, 4);
  const closed = await call(sshd, words, settings('closed'));
  t.is(closed.code, 1);
  t.regex(
    closed.stdout,
    /copy .*my image\.img to http.*\/closed\/images\/my_image-[0-9a-f]{16}\.img \(PUT was answered with 405\)/,
  );
  const endless = await call(sshd, words, settings('endless'));
  t.is(endless.code, 1);
  const none = await call(sshd, words, '[target ce]\ntype = arc\nendpoint = https://x\n');
  t.regex(none.stderr, /base_url/);
  server.closeAllConnections();
  server.close();
});
