import {
  appendFile,
  chmod,
  link,
  lutimes,
  mkdir,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import test from 'ava';
import { run } from '../../src/process/run.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { Engine, listing } from '../helpers/snap.ts';

let engine: Engine;

test.before(async () => {
  engine = await Engine.build();
});
test.after.always(async () => {
  await engine.remove();
});

type Work = (root: string) => Promise<unknown>;
const shell = async (root: string, text: string): Promise<unknown> =>
  run('env', ['-C', root, 'sh', '-euc', text]);

/** What the issue lists, with what each has to say in the list of the archive. */
const CASES: readonly (readonly [what: string, before: Work, after: Work, said: RegExp])[] = [
  [
    'setuid, setgid and sticky',
    async (r) => writeFile(`${r}/a`, 'x'),
    async (r) => chmod(`${r}/a`, 0o7711),
    /^M -rws--s--t.* a \(mode was 0644\)$/m,
  ],
  [
    'an edit that keeps size and time',
    async (r) => writeFile(`${r}/a`, 'one'),
    async (r) => {
      const { mtimeMs } = await stat(`${r}/a`);
      await writeFile(`${r}/a`, 'two');
      await lutimes(`${r}/a`, mtimeMs / 1000, mtimeMs / 1000);
    },
    /^M .* a/m,
  ],
  [
    'a file that was only touched',
    async (r) => writeFile(`${r}/a`, 'x'.repeat(100_000)),
    async (r) => lutimes(`${r}/a`, 5, 1234567.25),
    /^T 1234567\.250000000 a$/m,
  ],
  [
    'a new name of an unchanged file',
    async (r) => writeFile(`${r}/a`, 'x'),
    async (r) => link(`${r}/a`, `${r}/b`),
    /^A .* b = a$/m,
  ],
  [
    'a hard link that was broken',
    async (r) => {
      await writeFile(`${r}/a`, 'x');
      await link(`${r}/a`, `${r}/b`);
    },
    async (r) => shell(r, 'cp -p a c; mv c b'),
    /^M .* b/m,
  ],
  [
    'a file that became a folder and the reverse',
    async (r) => shell(r, 'touch a; mkdir b; touch b/c'),
    async (r) => shell(r, 'rm -r a b; mkdir a; touch a/x b'),
    /^M -.* b \(was a folder\)$/m,
  ],
  [
    'a folder replaced by a link',
    async (r) => shell(r, 'mkdir a; touch a/b'),
    async (r) => {
      await rm(`${r}/a`, { recursive: true });
      await symlink('/etc', `${r}/a`);
    },
    /^M l.* a -> \/etc \(was a folder\)$/m,
  ],
  [
    'a folder deleted and made again',
    async (r) => shell(r, 'mkdir a; touch a/1 a/2 a/3'),
    async (r) => shell(r, 'rm -r a; mkdir a; touch a/4'),
    /^D a\/\* /m,
  ],
  [
    'a folder moved',
    async (r) => shell(r, 'mkdir -p a/b; echo x >a/b/c'),
    async (r) => rename(`${r}/a`, `${r}/d`),
    /^D a$/m,
  ],
  [
    'the mode of a folder alone',
    async (r) => shell(r, 'mkdir -p a/b; touch a/b/c'),
    async (r) => chmod(`${r}/a`, 0o2700),
    /^M drwx--S---.* a \(mode was 0755\)$/m,
  ],
  [
    'capabilities, access lists and binary attributes',
    async (r) => shell(r, 'touch a b; mkdir d'),
    async (r) =>
      shell(
        r,
        'setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 a; setfattr -n user.bin -v 0x000a3dff b;' +
          'setfacl -m u:1234:rw a; setfacl -d -m g:42:rx d; setfacl -m u:7:x d',
      ),
    /^M .* a \(.*xattr security\.capability/m,
  ],
  [
    'names with every kind of byte',
    async (r) => shell(r, 'touch keep'),
    async (r) =>
      shell(
        r,
        'touch -- "$(printf "bad\\377utf\\200")" "$(printf "new\\nline")" -rf "$(printf "%255s" | tr " " n)"',
      ),
    /^A .* bad\xff?/m,
  ],
  [
    'devices and pipes',
    async (r) => shell(r, 'mkfifo p'),
    async (r) => shell(r, 'rm p; mknod p c 4 300; mknod q b 259 70000; mkfifo r'),
    /^M c.* p/m,
  ],
];

for (const [what, before, after, said] of CASES) {
  test(`exact after a merge: ${what}`, async (t) => {
    if (!requireOrSkip(t, process.getuid?.() === 0, 'needs root')) return;
    const name = what.replaceAll(/\W/g, '-');
    const root = engine.at(name);
    await mkdir(root);
    await before(root);
    await engine.ok('--root', root, 'base');
    await engine.copy(name, `${name}.base`);
    await after(root);
    const file = engine.at(`${name}.tar`);
    await engine.ok('--root', root, 'changes', '-o', file);
    t.regex(await engine.ok('inspect', file), said);
    const base = engine.at(`${name}.base`);
    await engine.ok('--root', base, 'merge', file);
    t.is(await engine.ok('--root', base, 'manifest'), await engine.ok('--root', root, 'manifest'));
    t.deepEqual(await listing(base), await listing(root));
  });
}

test('a touched file costs no content, a sparse one is sparse again, and a socket is skipped with a word', async (t) => {
  if (!requireOrSkip(t, process.getuid?.() === 0, 'needs root')) return;
  const root = engine.at('sparse');
  await mkdir(root);
  await writeFile(`${root}/touched`, Buffer.alloc(1_000_000, 'x'));
  await engine.ok('--root', root, 'base');
  await engine.copy('sparse', 'sparse.base');
  await lutimes(`${root}/touched`, 1, 1);
  const small = engine.at('small.tar');
  await engine.ok('--root', root, 'changes', '-o', small);
  t.true((await stat(small)).size < 10_000);
  await writeFile(`${root}/sparse`, 'start');
  await truncate(`${root}/sparse`, 20_000_000);
  await appendFile(`${root}/sparse`, 'end');
  await shell(
    root,
    'perl -MSocket -e \'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("socket")) or die\'',
  );
  const result = await engine.snap('--root', root, 'changes', '-o', engine.at('sparse.tar.zst'));
  t.regex(result.stderr, /1 sockets were left out/);
  await engine.ok('--root', engine.at('sparse.base'), 'merge', engine.at('sparse.tar.zst'));
  const merged = await stat(engine.at('sparse.base', 'sparse'));
  t.is(merged.size, 20_000_003);
  t.true(merged.blocks * 512 < 1_000_000);
});

test('a path over 4095 characters and a name that begins with .wh. are refused by name', async (t) => {
  if (!requireOrSkip(t, process.getuid?.() === 0, 'needs root')) return;
  const root = engine.at('long');
  await mkdir(root);
  await engine.ok('--root', root, 'base');
  await writeFile(`${root}/.wh.x`, '');
  const refused = await engine.snap('--root', root, 'changes', '-o', engine.at('wh.tar'));
  t.is(refused.exitCode, 1);
  t.regex(refused.stderr, /cannot put \/\.wh\.x into a changes file/);
  await shell(
    root,
    'n=$(printf "%200s" | tr " " d); i=0; while [ $i -lt 22 ]; do mkdir $n; cd -P ./$n 2>/dev/null || break; i=$((i+1)); done',
  );
  const long = await engine.snap('--root', root, 'changes', '-o', engine.at('long.tar'));
  t.is(long.exitCode, 1);
  t.regex(long.stderr, /longer than 4095 characters/);
});

test('what a list of exclusions names stays out: paths with or without a slash before, wildcards, comments', async (t) => {
  if (!requireOrSkip(t, process.getuid?.() === 0, 'needs root')) return;
  const root = engine.at('excluded');
  await mkdir(root);
  const list = engine.at('list');
  await writeFile(list, '# a comment\n\n/one/two\nthree\n*.tmp\nfour/?x\n');
  const snap = ['--root', root, '--exclude', list];
  await engine.ok(...snap, 'base');
  await shell(
    root,
    'mkdir -p one/two/deep three four; touch one/two/deep/a one/b three/c d.tmp one/e.tmp four/fx four/fxx four/x',
  );
  const printed = await engine.ok(...snap, '-n', 'changes');
  const names = printed.split('\n').filter((line) => line.startsWith('A /'));
  t.deepEqual(names, ['A /four', 'A /four/fxx', 'A /four/x', 'A /one', 'A /one/b']);
});
