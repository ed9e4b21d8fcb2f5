import test from 'ava';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { packageFile } from '../../src/config/paths.ts';
import { run, type RunResult } from '../../src/process/run.ts';
import { inputsDigest, textDigest } from '../../src/runtime/digest.ts';
import { withLock } from '../../src/runtime/lock.ts';
import { requireOrSkip } from '../helpers/require.ts';

const CLI = packageFile('dist', 'src', 'cli', 'main.js');
const ANY_CODE = Array.from({ length: 256 }, (_, code) => code);
const never = new AbortController().signal;

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'apppot test '));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function cli(args: readonly string[], env: Record<string, string>): Promise<RunResult> {
  return run(process.execPath, [CLI, 'runtime', ...args], { env, okCodes: ANY_CODE });
}

test('a runtime of the same inputs is found without starting any program', async (t) => {
  await inFolder(async (folder) => {
    const base = join(folder, 'apppot', 'runtime');
    await mkdir(join(base, 'abc'), { recursive: true });
    await mkdir(join(base, 'built'));
    await writeFile(join(base, 'abc', 'manifest.json'), '{}');
    await writeFile(join(base, 'built', textDigest(inputsDigest(), '')), 'abc');
    // Nothing can be started: every program on this PATH would be a failure.
    const result = await cli(['build'], { XDG_CACHE_HOME: folder, PATH: '/nonexistent' });
    t.is(result.exitCode, 0, `it said: ${result.stderr}`);
    t.is(result.stdout, `${join(base, 'abc')} (was there already)\n`);
  });
});

test('a source that is not there, a folder or no number of jobs is refused with one sentence', async (t) => {
  await inFolder(async (folder) => {
    const env = { XDG_CACHE_HOME: folder };
    const missing = await cli(['build', '--source', join(folder, 'no.tar.xz')], env);
    t.is(missing.exitCode, 1);
    t.regex(missing.stderr, /Cannot read the kernel source .*no\.tar\.xz/);
    const directory = await cli(['build', '--source', folder], env);
    t.is(directory.exitCode, 1);
    t.regex(directory.stderr, /is not a file/);
    t.is((await cli(['build', '--jobs', '0'], env)).exitCode, 2);
  });
});

/** Runs the kernel's build script on a tree of files. */
async function buildKernel(
  folder: string,
  files: Readonly<Record<string, string>>,
  patch?: string,
): Promise<RunResult> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(folder, 'tree', name, '..'), { recursive: true });
    await writeFile(join(folder, 'tree', name), content);
  }
  for (const name of ['work', 'out', 'patches']) await mkdir(join(folder, name));
  await run('tar', ['-C', folder, '-cf', join(folder, 'source.tar'), 'tree']);
  if (patch !== undefined) await writeFile(join(folder, 'patches', '0001-test.patch'), patch);
  const script = packageFile('image', 'kernel', 'build.sh');
  const folders = ['--work', join(folder, 'work'), '--output', join(folder, 'out')];
  const words = [
    script,
    '--source',
    join(folder, 'source.tar'),
    '--patches',
    join(folder, 'patches'),
    ...folders,
  ];
  return run('/bin/sh', words, { okCodes: ANY_CODE });
}

const VERSION = 'VERSION = 7\nPATCHLEVEL = 3\n';

test('a tarball that holds no kernel, or one that is too old, is refused', async (t) => {
  const other = await inFolder((folder) => buildKernel(folder, { README: 'x' }));
  t.is(other.exitCode, 4);
  t.regex(other.stderr, /no source of the Linux kernel/);
  const old = await inFolder((folder) =>
    buildKernel(folder, { Makefile: 'VERSION = 6\nPATCHLEVEL = 12\n', 'arch/um/Makefile': '' }),
  );
  t.is(old.exitCode, 4);
  t.regex(old.stderr, /is Linux 6\.12; 7\.3 or newer is needed/);
});

test('a patch that does not apply ends the build and is named', async (t) => {
  const patch =
    '--- a/Makefile\n+++ b/Makefile\n@@ -1,2 +1,2 @@\n-VERSION = 9\n+VERSION = 8\n PATCHLEVEL = 9\n';
  const result = await inFolder((folder) =>
    buildKernel(folder, { Makefile: VERSION, 'arch/um/Makefile': '' }, patch),
  );
  t.is(result.exitCode, 5);
  t.regex(result.stderr, /0001-test\.patch does not apply to Linux 7\.3/);
});

test('a symbol that the configuration lost ends the build and is named', async (t) => {
  // A tree whose configuration knows nothing but HOSTFS.
  const makefile = `${VERSION}allnoconfig:\n\tprintf 'CONFIG_HOSTFS=y\\n' > $(O)/.config\n`;
  const result = await inFolder((folder) =>
    buildKernel(folder, { Makefile: makefile, 'arch/um/Makefile': '' }),
  );
  t.is(result.exitCode, 6);
  t.regex(result.stderr, /lost from the configuration of linux:.* CONFIG_EXT4_FS/);
  t.notRegex(result.stderr, / CONFIG_HOSTFS\b/);
});

test('both flavours are compiled by one make, and end up stripped beside their version', async (t) => {
  // A tree whose kernel is a program of this machine.
  const makefile = [
    VERSION + 'allnoconfig:',
    '\tcp $(KCONFIG_ALLCONFIG) $(O)/.config',
    'linux:',
    '\tcp /bin/true $(O)/linux',
    '.PHONY: linux allnoconfig kernelrelease',
    'kernelrelease:',
    '\t@echo 7.3.0-test',
    '',
  ].join('\n');
  await inFolder(async (folder) => {
    const result = await buildKernel(folder, { Makefile: makefile, 'arch/um/Makefile': '' });
    t.is(result.exitCode, 0, `it said: ${result.stderr}`);
    t.deepEqual((await readdir(join(folder, 'out'))).sort(), ['linux', 'linux-smp', 'linux.version']);
    t.is(await readFile(join(folder, 'out', 'linux.version'), 'utf8'), '7.3.0-test\n');
    await run(join(folder, 'out', 'linux-smp'), []);
  });
});

test('the second of two builds waits for the first', async (t) => {
  await inFolder(async (folder) => {
    const events: string[] = [];
    const lock = join(folder, '.lock');
    const build = async (name: string): Promise<void> =>
      withLock(
        lock,
        never,
        (owner) => events.push(`${name} waits for ${owner === String(process.pid) ? 'us' : owner}`),
        async () => {
          events.push(`${name} in`);
          await delay(500);
          events.push(`${name} out`);
        },
      );
    const first = build('first');
    await delay(200);
    await Promise.all([first, build('second')]);
    t.deepEqual(events, ['first in', 'second waits for us', 'first out', 'second in', 'second out']);
  });
});

test('the lock of a killed build is no obstacle', async (t) => {
  await inFolder(async (folder) => {
    const lock = join(folder, '.lock');
    await writeFile(lock, `${hostname()} ${process.pid} 1`);
    t.is(
      await withLock(
        lock,
        never,
        () => undefined,
        () => Promise.resolve(5),
      ),
      5,
    );
    await t.throwsAsync(readFile(lock));
  });
});

test("without a built runtime, status names the distribution's kernel and what is lost", async (t) => {
  await inFolder(async (folder) => {
    const kernel = packageFile('test', 'fixtures', 'guest', 'no-kernel');
    const bad = await cli(['status'], { XDG_CACHE_HOME: folder, APPPOT_KERNEL: kernel });
    t.is(bad.exitCode, 1);
    t.regex(bad.stderr, /There is no kernel/);
    const none = await cli(['path'], { XDG_CACHE_HOME: folder });
    t.is(none.exitCode, 1);
    const stock = await cli(['status', '--json'], { XDG_CACHE_HOME: folder });
    if (!requireOrSkip(t, stock.exitCode === 0, 'needs the package user-mode-linux')) return;
    const status = JSON.parse(stock.stdout) as { origin: string; loss: string; capabilities: object };
    t.is(status.origin, 'distribution');
    t.regex(status.loss, /of the distribution: several times slower/);
    t.like(status.capabilities, { transport: 'slirp', confinedHostfs: false });
  });
});

test('the build leaves nothing behind when it is interrupted', async (t) => {
  await inFolder(async (folder) => {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    const tools = 'gcc make flex bison bc xz patch strip meson ninja pkg-config apt-get dpkg-deb';
    // apt that never answers, as a mirror behind a bad line.
    await writeFile(join(bin, 'slow'), '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
    for (const tool of tools.split(' ')) await symlink('slow', join(bin, tool));
    const words = ['--preserve-status', '-s', 'INT', '2', process.execPath, CLI, 'runtime', 'build'];
    const env = { XDG_CACHE_HOME: folder, PATH: `${bin}:/usr/bin:/bin` };
    const result = await run('timeout', words, { env, okCodes: ANY_CODE });
    t.is(result.exitCode, 130, `it said: ${result.stderr}`);
    const left = await run('find', [join(folder, 'apppot'), '-mindepth', '2']);
    t.is(left.stdout, '');
  });
});
