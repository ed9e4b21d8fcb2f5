import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { run } from '../../src/process/run.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { Dice, edit, Engine } from '../helpers/snap.ts';
import { fuzz, SANITIZERS } from '../helpers/snap-fuzz.ts';
import { changesFile, type RawEntry } from '../helpers/tar.ts';

let engine: Engine;
const isRoot = process.getuid?.() === 0;
const folder = (name: string): RawEntry => ({ name, type: '5', mode: 0o755 });

test.before(async () => {
  engine = await Engine.build(SANITIZERS);
});
test.after.always(async () => {
  await engine.remove();
});

/** A tree with a base in it. */
async function tree(name: string): Promise<{ root: string; id: string }> {
  const root = engine.at(name);
  await mkdir(`${root}/sub`, { recursive: true });
  await writeFile(`${root}/sub/file`, 'old');
  await engine.ok('--root', root, 'base');
  return { root, id: (await readFile(`${root}/var/lib/apppot/base-id`, 'utf8')).trim() };
}

const HOSTILE: readonly (readonly [what: string, entries: readonly RawEntry[]])[] = [
  ['an absolute path', [{ name: '/outside', content: 'x' }]],
  ['a path with ..', [{ name: '../outside', content: 'x' }]],
  ['a path with .. inside', [folder('sub/'), { name: 'sub/../../outside', content: 'x' }]],
  ['an absolute path in a pax record', [{ name: 'a', content: 'x', records: { path: '/outside' } }]],
  [
    'a link and a file through it',
    [
      { name: 'a', type: '2', link: '/tmp' },
      { name: 'a/outside', content: 'x' },
    ],
  ],
  ['a link and a deletion through it', [{ name: 'a', type: '2', link: '..' }, { name: 'a/.wh.outside' }]],
  ['a hard link to the outside', [{ name: 'a', type: '1', link: '/etc/passwd' }]],
  ['a hard link up', [{ name: 'a', type: '1', link: '../outside' }]],
  ['a hard link to what is not in it', [{ name: 'a', type: '1', link: 'sub/file' }]],
  [
    'a name twice',
    [
      { name: 'a', content: '1' },
      { name: 'a', content: '2' },
    ],
  ],
  [
    'a wrong order',
    [
      { name: 'b', content: '1' },
      { name: 'a', content: '2' },
    ],
  ],
  ['a name deleted and there', [{ name: '.wh.a' }, { name: 'a', content: '2' }]],
  ['a deletion of the folder above', [folder('sub/'), { name: 'sub/.wh...' }]],
  ['a device with content', [{ name: 'a', type: '3', content: 'x' }]],
  ['an unknown type', [{ name: 'a', type: 'S' }]],
  ['a size that lies', [{ name: 'a', content: 'x', size: 0o77777777777 }]],
  ['a negative size', [{ name: 'a', content: 'x', records: { size: '-1' } }]],
  ['a size beyond 64 bits', [{ name: 'a', content: 'x', records: { size: '99999999999999999999' } }]],
  [
    'an attribute of the kernel',
    [{ name: 'a', records: { 'SCHILY.xattr.trusted.overlay.redirect': '/etc' } }],
  ],
  [
    'our own records',
    [
      folder('var/'),
      folder('var/lib/'),
      folder('var/lib/apppot/'),
      { name: 'var/lib/apppot/base-id', content: 'x' },
    ],
  ],
  ['a deletion of our own records', [folder('var/'), { name: 'var/.wh.lib' }]],
  ['a path without its folder', [{ name: 'nowhere/a', content: 'x' }]],
  ['a path of 5000 characters', [{ name: 'a', content: 'x', records: { path: 'y'.repeat(5000) } }]],
  ['a name of 256 characters', [{ name: 'a', content: 'x', records: { path: 'y'.repeat(256) } }]],
];

for (const [what, entries] of HOSTILE) {
  test(`refused, and nothing is changed: ${what}`, async (t) => {
    if (!requireOrSkip(t, isRoot, 'needs root')) return;
    const name = what.replaceAll(/\W/g, '-');
    const { root, id } = await tree(name);
    const before = await engine.ok('--root', root, 'manifest');
    const file = engine.at(`${name}.tar`);
    await writeFile(file, changesFile(id, entries));
    const result = await engine.snap('--root', root, 'merge', file);
    t.is(result.exitCode, 4, `it said: ${result.stderr}`);
    t.is(await engine.ok('--root', root, 'manifest'), before);
    await t.throwsAsync(stat(engine.at('outside')));
  });
}

test('truncated at every block and with a flipped bit in every block, a changes file is refused', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const { root } = await tree('flips');
  await writeFile(`${root}/new`, 'content'.repeat(100));
  const file = engine.at('flips.tar');
  await engine.ok('--root', root, 'changes', '-o', file);
  const good = await readFile(file);
  await engine.ok('verify', file);
  const dice = new Dice(Date.now() % 1000);
  const bad = engine.at('bad.tar');
  // The last kilobyte is the end mark, zeros that say nothing.
  for (let at = 0; at < good.length - 1024; at += 512) {
    await writeFile(bad, good.subarray(0, at));
    t.is((await engine.snap('verify', bad)).exitCode, 4, `cut at ${at}`);
    const flipped = Buffer.from(good);
    const place = at + dice.next(512);
    flipped[place] = (flipped[place] ?? 0) ^ (1 << dice.next(8));
    await writeFile(bad, flipped);
    const { exitCode, stderr } = await engine.snap('verify', bad);
    const inSum = place % 512 >= 148 && place % 512 < 156;
    if (exitCode === 1) t.regex(stderr, /has the format/);
    // A blank for a zero in the sums of the last two headers means the same.
    else if (exitCode === 0) t.true(place > good.length - 2560 && inSum, `${place} of ${good.length}`);
    else t.is(exitCode, 4, `it said: ${stderr}`);
  }
});

/** A tree with a base, the changes of an edit in it, and the manifests before and after a merge of them. */
async function toBeMerged(engine_: Engine, files: number): Promise<{ file: string; states: string[] }> {
  const root = engine_.at('kill');
  await mkdir(root);
  const dice = new Dice(Date.now() % 100_000);
  await edit(dice, root, 60);
  await engine_.ok('--root', root, 'base');
  await engine_.copy('kill', 'start');
  await edit(dice, root, 60);
  for (let i = 0; i < files; i++) await writeFile(`${root}/new${i}`, 'x'.repeat(dice.next(9000)));
  const file = engine_.at('kill.tar');
  await engine_.ok('--root', root, 'changes', '-o', file);
  const states = [
    await engine_.ok('--root', engine_.at('start'), 'manifest'),
    await engine_.ok('--root', root, 'manifest'),
  ];
  return { file, states };
}

test('merge killed at random moments leaves the old state or the new one', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const quick = await Engine.build();
  const { file, states } = await toBeMerged(quick, 500);
  const dice = new Dice(Date.now() % 100_000);
  const times = Number(process.env['APPPOT_TEST_KILLS'] ?? '10');
  const seen = [0, 0];
  for (let i = 0; i < times; i++) {
    await quick.copy('start', 'victim');
    const child = spawn(quick.program, ['--root', quick.at('victim'), 'merge', file], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.on('close', resolve));
    // Every second kill comes when the journal counts: from then on it has to be the new state.
    const journal = quick.at('victim', 'var/lib/apppot/snap-journal');
    const late = i % 2 === 1;
    while (late && child.exitCode === null && !existsSync(journal)) await delay(0);
    await delay(dice.next(late ? 4 : 40));
    child.kill('SIGKILL');
    await ended;
    const committed = existsSync(journal);
    await quick.ok('--root', quick.at('victim'), 'recover');
    const state = states.indexOf(await quick.ok('--root', quick.at('victim'), 'manifest'));
    t.not(state, -1, `kill ${i}`);
    t.true(state === 1 || !(committed || late), `kill ${i} during the commit`);
    if (state >= 0) seen[state] = (seen[state] ?? 0) + 1;
    await rm(quick.at('victim'), { recursive: true });
  }
  t.log(`old ${seen[0]}, new ${seen[1]}`);
  await quick.remove();
});

/** System calls that change the file system. */
const CHANGING = [
  'openat,mkdirat,mknodat,symlinkat,linkat,renameat,renameat2,unlinkat,write,pwrite64,ftruncate,fchmod,fchmodat',
  'fchownat,utimensat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,fsync,syncfs',
].join(',');

/** How often each of these system calls is made. */
async function callsOf(words: readonly string[], log: string): Promise<ReadonlyMap<string, number>> {
  await run('strace', ['-f', '-o', log, '-e', `trace=${CHANGING}`, ...words]);
  const counts = new Map<string, number>();
  for (const [, name = ''] of (await readFile(log, 'latin1')).matchAll(/^\d+ +(\w+)\(/gm))
    counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

for (const [command, options] of [
  ['merge', ['merge']],
  ['base', ['base']],
  ['changes', ['changes', '-o']],
] as const)
  test(`${command} killed before any of its system calls leaves the old state or the new one`, async (t) => {
    if (!requireOrSkip(t, isRoot, 'needs root')) return;
    const quick = await Engine.build();
    const { file, states } = await toBeMerged(quick, 5);
    const victim = quick.at('victim');
    const written = quick.at('written.tar');
    const words = [quick.program, '--root', victim, ...options];
    if (command === 'merge') words.push(file);
    if (command === 'changes') words.push(written);
    const from = command === 'merge' ? 'start' : 'kill';
    await quick.copy(from, 'victim');
    const calls = await callsOf(words, quick.at('calls'));
    const after = await idOf(victim);
    const whole = command === 'changes' ? await readFile(written) : undefined;
    await rm(victim, { recursive: true });
    const points = [...calls].flatMap(([name, count]) =>
      Array.from({ length: count }, (_, i) => ({ name, i })),
    );
    t.true(points.length > 10, `${points.length} calls`);
    // Not all of them each time: every call from a random first one, at a stride that leaves about so many.
    const wanted = Number(process.env['APPPOT_TEST_KILLS'] ?? '10') * 4;
    const stride = Math.max(1, Math.floor(points.length / wanted));
    const seen = [0, 0];
    for (let at = Date.now() % stride; at < points.length; at += stride) {
      const { name, i } = points[at] ?? { name: '', i: 0 };
      await quick.copy(from, 'victim');
      await rm(written, { force: true });
      const before = await idOf(victim);
      const inject = `inject=${name}:signal=KILL:when=${i + 1}`;
      const killed = run('strace', ['-f', '-o', '/dev/null', '-e', `trace=${name}`, '-e', inject, ...words]);
      await t.throwsAsync(killed, undefined, `${name} ${i + 1}`);
      await quick.ok('--root', victim, 'recover');
      const manifest = await quick.ok('--root', victim, 'manifest');
      const state =
        command === 'merge' ? states.indexOf(manifest) : [before, after].indexOf(await idOf(victim));
      t.not(state, -1, `${name} ${i + 1}`);
      t.true(command === 'merge' || manifest === states[1], `${name} ${i + 1}`);
      if (state >= 0) seen[state] = (seen[state] ?? 0) + 1;
      const left = await readFile(written).catch(() => undefined);
      t.deepEqual(left ?? whole, whole, `${name} ${i + 1}`);
      await rm(victim, { recursive: true });
    }
    t.log(`${points.length} calls: old ${seen[0]}, new ${seen[1]}`);
    await quick.remove();
  });

/** The id of the base that is recorded in a tree. */
async function idOf(root: string): Promise<string> {
  return readFile(join(root, 'var/lib/apppot/base-id'), 'latin1');
}

test('a full disk stops merge and changes, and leaves the old state', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const disk = engine.at('disk');
  await mkdir(disk);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', disk]);
  try {
    const { root, id } = await tree('disk/tree');
    const before = await engine.ok('--root', root, 'manifest');
    const file = engine.at('large.tar');
    await writeFile(file, changesFile(id, [{ name: 'large', content: Buffer.alloc(5_000_000, 'x') }]));
    const result = await engine.snap('--root', root, 'merge', file);
    t.is(result.exitCode, 1);
    t.regex(result.stderr, /No space left/);
    t.is(await engine.ok('--root', root, 'manifest'), before);
    await writeFile(`${root}/some`, Buffer.alloc(2_500_000, 'y'));
    t.is((await engine.snap('--root', root, 'changes', '-o', `${disk}/c.tar`)).exitCode, 1);
    await t.throwsAsync(stat(`${disk}/c.tar`));
  } finally {
    await run('umount', [disk]);
  }
});

test('mutated archives never crash the engine', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const { root } = await tree('fuzz');
  const seed = Number(process.env['APPPOT_TEST_SEED'] ?? Date.now() % 1_000_000);
  const dice = new Dice(seed);
  await edit(dice, root, 40);
  const file = engine.at('fuzz.tar');
  await engine.ok('--root', root, 'changes', '-o', file);
  const seconds = Number(process.env['APPPOT_TEST_FUZZ'] ?? '10');
  const { count, bad } = await fuzz(engine, file, dice, seconds, root);
  t.log(`${count} archives, APPPOT_TEST_SEED=${seed}`);
  t.deepEqual(bad, []);
  t.true(count > seconds);
});
