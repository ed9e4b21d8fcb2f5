import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ApppotError, type ErrorCode } from '../../src/errors.ts';
import { readSettings, type BuildRequest, type Settings } from '../../src/image/settings.ts';
import { formatSize, parseSize } from '../../src/image/size.ts';
import { nearest } from '../../src/image/suggest.ts';

/** Settings in a folder (with a blank in its name) that holds a rootstrap.conf. */
async function settings(conf: string | undefined, request: Partial<BuildRequest> = {}): Promise<Settings> {
  const folder = await mkdtemp(join(tmpdir(), 'apppot test-'));
  try {
    if (conf !== undefined) await writeFile(join(folder, 'rootstrap.conf'), conf);
    await mkdir(join(folder, 'modules'));
    await writeFile(join(folder, 'modules', 'mine'), '#!/bin/sh\n');
    await chmod(join(folder, 'modules', 'mine'), 0o755);
    return await readSettings({ workFolder: folder, scripts: [], ...request });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The packages of a list that would not be installed. */
function missing(result: Settings, names: readonly string[]): readonly string[] {
  return names.filter((name) => !result.packages.includes(name));
}

test('without any file the defaults are a minimal stable of 1 GB', async (t) => {
  const result = await settings(undefined);
  t.is(result.release, 'stable');
  t.is(result.packageSet, 'minimal');
  t.is(result.sizeMebibytes, 1024);
  t.is(result.fileSystem, 'ext4');
  t.deepEqual(
    result.modules.map((module) => module.name),
    ['network', 'mkfs', 'mount', 'debian', 'uml', 'apppot', 'umount'],
  );
  t.deepEqual(missing(result, ['bash', 'sudo', 'screen', 'less', 'lsb-release', 'iproute2']), []);
});

test('the command line wins over the file', async (t) => {
  const conf = '[global]\ninitialsize=2048\n[debian]\ndist=bookworm\nmirror=http://a/debian\ninstall=jed\n';
  const result = await settings(conf, {
    release: 'trixie',
    mirror: 'http://b/debian',
    size: '3G',
    include: 'octave,git',
    packages: 'quickstart',
  });
  t.is(result.release, 'trixie');
  t.is(result.mirror, 'http://b/debian');
  t.is(result.sizeMebibytes, 3072);
  t.deepEqual(missing(result, ['jed', 'octave', 'git', 'gcc', 'make', 'sudo']), []);
});

test('the options of a module are its section over the global ones', async (t) => {
  const conf = '[global]\nmodules=mine umount\nfstype=ext2\nextra=1\n[mine]\nfstype=mine\nnews=2\n';
  const [mine, umount] = (await settings(conf)).modules;
  t.is(mine?.options['fstype'], 'mine');
  t.is(mine?.options['news'], '2');
  t.is(mine?.options['extra'], '1');
  t.is(umount?.options['fstype'], 'ext2');
  t.is(umount?.options['news'], undefined);
});

test('lines of sources are taken as they are, unless the command line names another release', async (t) => {
  const conf =
    '[debian]\nsources=\n deb http://m/debian stable main\n deb http://m/debian stable-updates main\n';
  t.deepEqual((await settings(conf)).sources, [
    'deb http://m/debian stable main',
    'deb http://m/debian stable-updates main',
  ]);
  t.is((await settings(conf, { release: 'bookworm' })).sources, undefined);
});

const bad: readonly (readonly [string, string | undefined, Partial<BuildRequest>, ErrorCode, RegExp])[] = [
  [
    'a misspelt section',
    '[debain]\n',
    {},
    'config',
    /rootstrap\.conf:1: section \[debain\].*\| Did you mean debian/,
  ],
  [
    'an unknown module',
    '[global]\nmodules=mkfs moutn\n',
    {},
    'config',
    /rootstrap\.conf:2: .*"moutn".*\| Did you mean mount/,
  ],
  [
    'a misspelt global option',
    '[global]\nintialsize=1\n',
    {},
    'config',
    /:2: .*"intialsize".*\| Did you mean initialsize/,
  ],
  ['an unknown file system', '[global]\nfstype=xfs\n', {}, 'config', /:2: fstype "xfs"/],
  [
    'a size that is none',
    '[global]\ninitialsize=big\n',
    {},
    'config',
    /:2: initialsize: "big" is not a size/,
  ],
  ['no modules', '[global]\nmodules=\n', {}, 'config', /no option "modules"/],
  ['a file that is not there', undefined, { config: 'none.conf' }, 'not-found', /none\.conf/],
  [
    'a package set that is not there',
    undefined,
    { packages: 'quikstart' },
    'config',
    /quikstart.*Did you mean quickstart/,
  ],
  ['a word that is no package', undefined, { include: 'gcc,$(id)' }, 'usage', /"\$\(id\)" is not the name/],
  ['an option in place of a package', undefined, { include: '--force-yes' }, 'usage', /not the name/],
  [
    'a release that is no word',
    undefined,
    { release: '../etc' },
    'usage',
    /not the name of a Debian release/,
  ],
  ['a mirror that is no address', undefined, { mirror: 'debian' }, 'usage', /not the address/],
  ['a mirror with a blank', undefined, { mirror: 'http://a b' }, 'usage', /not the address/],
  ['a script that is not there', undefined, { scripts: ['no.sh'] }, 'not-found', /no\.sh/],
  ['a size below the least', undefined, { size: '1M' }, 'usage', /not possible/],
];
for (const [title, conf, request, code, message] of bad)
  test(`${title} is one clear error`, async (t) => {
    const error = await t.throwsAsync(settings(conf, request), { instanceOf: ApppotError });
    t.is(error.code, code);
    t.regex(`${error.message} | ${error.hint ?? ''}`, message);
  });

test('sizes are read with and without units', (t) => {
  const sizes = {
    '1024': 1024,
    '1G': 1024,
    '1.5G': 1536,
    '1500M': 1500,
    '2GB': 2048,
    '1T': 1048576,
    '2 GiB': 2048,
  };
  t.deepEqual(Object.fromEntries(Object.keys(sizes).map((text) => [text, parseSize(text)])), sizes);
  for (const text of ['', 'G', '-1G', '1K', '1e3', '0x10', '1G;']) t.throws(() => parseSize(text));
  t.is(formatSize(1536), '1.5 GB');
  t.is(formatSize(512), '512 MB');
});

test('a suggestion is made for near words only', (t) => {
  t.is(nearest('debain', ['debian', 'mkfs']), 'debian');
  t.is(nearest('networks', ['network']), 'network');
  t.is(nearest('zzz', ['debian', 'mkfs']), undefined);
});
