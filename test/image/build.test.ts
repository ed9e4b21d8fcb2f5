import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { findRuntime } from '../../src/runtime/find.ts';
import { run } from '../../src/process/run.ts';
import {
  plainPerson,
  publicPackage,
  type CliResult,
  type Person,
  type PublicPackage,
} from '../helpers/cli.ts';
import { requireOrSkip } from '../helpers/require.ts';

let apppot: PublicPackage;
/** A folder with a blank in its name; everyone may enter. */
let work = '';
let person: Person | undefined;
/** The first image that was built; the others are compared with it. */
const first = (): string => join(work, 'first.img');

/** Builds in the working folder, as this process' user. */
async function build(...args: string[]): Promise<CliResult> {
  return apppot.cli(['build-image', '--release', 'trixie', ...args], {
    cwd: work,
    env: { XDG_CACHE_HOME: join(work, 'cache'), TMPDIR: join(work, 'scratch') },
  });
}

/** What a failed build may not leave: an image (or a part of one), scratch, mounts. */
async function leftovers(name: string): Promise<readonly string[]> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .filter((line) => line.includes('apppot-build'));
  const files = (await readdir(work)).filter((file) => file.includes(name));
  return [...mounts, ...files, ...(await readdir(join(work, 'scratch')))];
}

/** On failure AVA then shows what the program said. */
function succeeded(t: ExecutionContext, result: CliResult): void {
  t.deepEqual({ code: result.code, said: result.code === 0 ? '' : result.stderr }, { code: 0, said: '' });
}

async function isSame(a: string, b: string): Promise<boolean> {
  return (await run('cmp', ['-s', '--', a, b], { okCodes: [0, 1] })).exitCode === 0;
}

async function debugfs(image: string, request: string): Promise<string> {
  return (await run('debugfs', ['-R', request, image])).stdout;
}

test.before(async () => {
  apppot = await publicPackage();
  work = await mkdtemp('/var/tmp/apppot work-');
  await chmod(work, 0o755);
  await mkdir(join(work, 'scratch'));
  person = await plainPerson(work);
});
test.after.always(async () => {
  await apppot.remove();
  await rm(work, { recursive: true, force: true });
});

test.serial('a minimal image is built, and its file system is clean', async (t) => {
  const result = await build('-o', 'first.img', '--json');
  succeeded(t, result);
  const facts = JSON.parse(result.stdout) as {
    codename: string;
    baseId: string;
    image: string;
    cached: boolean;
  };
  t.is(facts.codename, 'trixie');
  t.is(facts.image, first());
  t.false(facts.cached);
  t.is((await stat(first())).size, 1024 * 1024 * 1024);
  t.true((await stat(first())).blocks * 512 < 300 * 1024 * 1024);
  await run('e2fsck', ['-fn', first()]);
  const manifest = await debugfs(first(), 'cat /var/lib/apppot/apppot-snap.base');
  const digest = await run('sha256sum', [], { input: manifest });
  t.is(digest.stdout.split(' ')[0], facts.baseId);
  t.is((await debugfs(first(), 'cat /var/lib/apppot/base-id')).trim(), facts.baseId);
  t.regex(
    await debugfs(first(), 'cat /etc/apppot-release'),
    new RegExp(`^debian=trixie$[^]*^base_id=${facts.baseId}$`, 'm'),
  );
  t.deepEqual(await leftovers('.part'), []);
});

test.serial(
  'the image has one user without a password, sudo, no gettys, and no trace of the build',
  async (t) => {
    const passwd = (await debugfs(first(), 'cat /etc/passwd')).split('\n');
    t.deepEqual(
      passwd.filter((line) => Number(line.split(':')[2]) >= 1000 && !line.startsWith('nobody:')),
      ['user:x:1000:1000:AppPot user:/home/user:/bin/bash'],
    );
    t.regex(await debugfs(first(), 'cat /etc/shadow'), /^root::19000:[^]*^user::19000:/m);
    t.regex(await debugfs(first(), 'cat /etc/sudoers.d/apppot'), /^user ALL=\(ALL:ALL\) NOPASSWD: ALL$/m);
    t.notRegex(await debugfs(first(), 'cat /etc/inittab'), /^[^#].*getty/m);
    t.is(await debugfs(first(), 'cat /etc/machine-id'), '');
    t.is(await debugfs(first(), 'cat /etc/hostname'), 'apppot\n');
    t.is(await debugfs(first(), 'cat /etc/resolv.conf'), 'nameserver 10.0.2.3\n');
    t.notRegex(await debugfs(first(), 'ls -p /usr/sbin'), /policy-rc\.d/);
    t.regex(await debugfs(first(), 'cat /etc/apt/sources.list'), /trixie-security main/);
  },
);

test.serial('the same image comes from the cache', async (t) => {
  const result = await build('-o', 'again.img');
  succeeded(t, result);
  // How fast is the benchmark's question.
  t.regex(result.stdout, /from the cache/);
  t.true(await isSame(first(), join(work, 'again.img')));
  await rm(join(work, 'again.img'));
});

test.serial('a second build without the cache gives the same bytes', async (t) => {
  const result = await build('-o', 'second.img', '--no-cache');
  succeeded(t, result);
  t.true(await isSame(first(), join(work, 'second.img')));
  await rm(join(work, 'second.img'));
});

test.serial('driver unshare as a plain user gives the same bytes as root', async (t) => {
  if (!requireOrSkip(t, process.getuid?.() === 0, 'the other build has to be root’s')) return;
  if (!requireOrSkip(t, person !== undefined, 'no user with a range in /etc/subuid')) return;
  const image = join(person?.home ?? '', 'user.img');
  const result = await apppot.cli(
    ['build-image', '--release', 'trixie', '--driver', 'unshare', '--no-cache', '-o', image],
    { cwd: person?.home ?? '', person, env: { TMPDIR: '/var/tmp' } },
  );
  succeeded(t, result);
  t.is((await stat(image)).uid, person?.uid ?? 0);
  t.true(await isSame(first(), image));
  await rm(image);
});

test.serial('driver uml as a plain user without user namespaces and KVM gives the same bytes', async (t) => {
  const runtime = await findRuntime().catch(() => undefined);
  if (!requireOrSkip(t, runtime?.helper !== undefined, 'no built runtime')) return;
  if (!requireOrSkip(t, person !== undefined, 'no plain user to run as')) return;
  const refuse = join(work, 'refuse');
  await run('gcc', ['-O2', '-o', refuse, packageFile('test', 'fixtures', 'c', 'refuse.c')]);
  const copies = join(work, 'runtime');
  await mkdir(copies);
  await copyFile(runtime?.kernel ?? '', join(copies, 'linux'));
  await copyFile(runtime?.helper ?? '', join(copies, 'slirp'));
  await run('chmod', ['-R', 'a+rX', copies, refuse]);
  const isRoot = process.getuid?.() === 0;
  const wrap = [
    ...[refuse, '--no-userns'],
    ...(isRoot ? ['--hide', '/dev/kvm', '--user', `${person?.uid ?? 0}:${person?.gid ?? 0}`] : []),
    '--',
  ];
  const options = {
    cwd: person?.home ?? '',
    person: person === undefined ? undefined : { ...person, prefix: [] },
    wrap,
    env: { TMPDIR: '/var/tmp', APPPOT_RUNTIME: copies },
  };
  const arguments_ = ['build-image', '--release', 'trixie', '--no-cache', '-o'];
  const refused = await apppot.cli([...arguments_, 'no.img', '--driver', 'unshare'], options);
  t.is(refused.code, 1);
  t.regex(refused.stderr, /The driver unshare does not work here: .*not permitted/i);
  const result = await apppot.cli([...arguments_, 'uml.img'], options);
  succeeded(t, result);
  t.regex(result.stdout, /built with uml/);
  t.true(await isSame(first(), join(person?.home ?? '', 'uml.img')));
  await rm(join(person?.home ?? '', 'uml.img'));
});

test.serial('a recipe runs as root in the new system, with a network and without input', async (t) => {
  await writeFile(
    join(work, 'my recipe.sh'),
    '#!/bin/bash -e\nid -u >/root/who\ncat >/root/input\ncp /etc/resolv.conf /root/resolv\nenv | sort >/root/env\n' +
      'apt-get update >/dev/null\ntest -e /dev/null -a -e /proc/self\n',
  );
  const result = await build('-o', 'recipe.img', '--script', 'my recipe.sh');
  succeeded(t, result);
  const image = join(work, 'recipe.img');
  t.is(await debugfs(image, 'cat /root/who'), '0\n');
  t.is(await debugfs(image, 'cat /root/input'), '');
  t.regex(await debugfs(image, 'cat /root/env'), /^DEBIAN_FRONTEND=noninteractive$/m);
  t.notRegex(await debugfs(image, 'ls -p /var/lib/apt/lists'), /InRelease/);
  await rm(image);
});

test.serial('a failing recipe is named with its exit code and its last words', async (t) => {
  await writeFile(
    join(work, 'bad.sh'),
    '#!/bin/sh\necho compiling\necho "no rule to make target" >&2\nexit 42\n',
  );
  const result = await build('-o', 'bad.img', '--script', 'bad.sh');
  t.is(result.code, 1);
  t.regex(result.stderr, /bad\.sh ended with code 42:\ncompiling\nno rule to make target\n/);
  t.deepEqual(await leftovers('bad.img'), []);
});

test.serial('a system that does not fit says the size it needs, and fits into that', async (t) => {
  await writeFile(join(work, 'fill.sh'), '#!/bin/sh\nhead -c 120M /dev/zero | tr "\\0" x >/opt/data\n');
  const arguments_ = ['--script', 'fill.sh', '-o', 'full.img', '--size'];
  const full = await build(...arguments_, '200M');
  t.is(full.code, 1);
  const needed = /it needs (\d+) MB/.exec(full.stderr)?.[1] ?? '';
  t.true(Number(needed) > 250 && Number(needed) < 450);
  t.deepEqual(await leftovers('full.img'), []);
  const fits = await build(...arguments_, `${needed}M`);
  succeeded(t, fits);
  await rm(join(work, 'full.img'));
});

test.serial('an existing image is replaced with --force only, and only by a complete one', async (t) => {
  await writeFile(join(work, 'old.img'), 'precious');
  const kept = await build('-o', 'old.img');
  t.is(kept.code, 1);
  t.regex(kept.stderr, /old\.img is there already/);
  await writeFile(join(work, 'bad.sh'), '#!/bin/sh\nexit 1\n');
  t.is((await build('-o', 'old.img', '--force', '--script', 'bad.sh')).code, 1);
  t.is(await readFile(join(work, 'old.img'), 'utf8'), 'precious');
  t.is((await build('-o', 'old.img', '--force')).code, 0);
  t.true(await isSame(first(), join(work, 'old.img')));
  await rm(join(work, 'old.img'));
});

test.serial('an interrupted build leaves no image, no scratch, no mount and no process', async (t) => {
  await writeFile(join(work, 'sleep.sh'), '#!/bin/sh\nexec sleep 98765\n');
  const stop = new AbortController();
  const building = apppot
    .cli(['build-image', '--release', 'trixie', '-o', 'never.img', '--script', 'sleep.sh'], {
      cwd: work,
      env: { XDG_CACHE_HOME: join(work, 'cache'), TMPDIR: join(work, 'scratch') },
      signal: stop.signal,
    })
    .catch((error: unknown) => error);
  const isSleeping = async (): Promise<boolean> =>
    (await run('pgrep', ['-f', '^sleep 98765$'], { okCodes: [0, 1] })).exitCode === 0;
  for (let tries = 0; tries < 600 && !(await isSleeping()); tries++) await delay(100);
  t.true(await isSleeping());
  stop.abort();
  await building;
  t.false(await isSleeping());
  t.deepEqual(await leftovers('never.img'), []);
});

test.serial('a package that Debian does not have is named', async (t) => {
  const result = await build('-o', 'none.img', '--include', 'no-such-package-here');
  t.is(result.code, 1);
  t.regex(result.stderr, /Debian trixie has no package "no-such-package-here"/);
  t.deepEqual(await leftovers('none.img'), []);
});

test.serial('a mirror that is none is named', async (t) => {
  const server = createServer((_request, response) => {
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const result = await build('-o', 'none.img', '--mirror', `http://127.0.0.1:${port}/debian`);
  server.close();
  t.is(result.code, 1);
  t.regex(result.stderr, /http:\/\/127\.0\.0\.1:\d+\/debian has no release "trixie"/);
  const dead = await build('-o', 'none.img', '--mirror', `http://127.0.0.1:${port}/debian`);
  t.is(dead.code, 1);
  t.regex(dead.stderr, /Cannot fetch http:\/\/127\.0\.0\.1:\d+\/debian\/dists\/trixie\/InRelease: /);
  t.deepEqual(await leftovers('none.img'), []);
});

test.serial('a dry run says what it would do and does nothing', async (t) => {
  const result = await build('-o', 'dry.img', '--dry-run', '--include', 'octave');
  succeeded(t, result);
  t.regex(
    result.stdout,
    /would build .*dry\.img[^]*modules: network mkfs mount debian uml apppot umount[^]*octave/,
  );
  t.deepEqual(await leftovers('dry.img'), []);
});

test.serial('an image grows, and only grows', async (t) => {
  const image = join(work, 'grow.img');
  await run('cp', ['--sparse=always', first(), image]);
  const env = { XDG_CACHE_HOME: join(work, 'cache') };
  const grown = await apppot.cli(['resize', 'grow.img', '3G'], { cwd: work, env });
  succeeded(t, grown);
  t.is((await stat(image)).size, 3 * 1024 ** 3);
  await run('e2fsck', ['-fn', image]);
  t.regex((await run('dumpe2fs', ['-h', image])).stdout, /Block count:\s+786432/);
  const smaller = await apppot.cli(['resize', 'grow.img', '2G'], { cwd: work, env });
  t.is(smaller.code, 2);
  t.regex(smaller.stderr, /cannot be made smaller/);
  await writeFile(join(work, 'text.img'), 'no image');
  t.regex((await apppot.cli(['resize', 'text.img', '2G'], { cwd: work, env })).stderr, /is no image/);
  t.regex((await apppot.cli(['resize', 'none.img', '2G'], { cwd: work, env })).stderr, /There is no image/);
  await rm(image);
});

test.serial('bookworm works too', async (t) => {
  const result = await build('-o', 'bookworm.img', '--release', 'bookworm', '--json');
  succeeded(t, result);
  const image = join(work, 'bookworm.img');
  await run('e2fsck', ['-fn', image]);
  t.regex(await debugfs(image, 'cat /etc/debian_version'), /^12\./);
  t.regex(await debugfs(image, 'cat /etc/apppot-release'), /^debian=bookworm$/m);
  await rm(image);
});
