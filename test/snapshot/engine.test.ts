import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import test from 'ava';
import { run } from '../../src/process/run.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { Dice, edit, Engine, listing } from '../helpers/snap.ts';

let engine: Engine;
const isRoot = process.getuid?.() === 0;

test.before(async () => {
  engine = await Engine.build();
});
test.after.always(async () => {
  await engine.remove();
});

/** A tree with a base in folder `name`, and a copy of it in `name-base`. */
async function prepared(name: string, fill: (root: string) => Promise<void>): Promise<string> {
  const root = engine.at(name);
  await mkdir(root);
  await fill(root);
  await engine.ok('--root', root, 'base');
  await engine.copy(name, `${name}-base`);
  return root;
}

test('random trees and random edits: base, changes and merge give the edited tree', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const seed = Number(process.env['APPPOT_TEST_SEED'] ?? Date.now() % 1_000_000);
  t.log(`APPPOT_TEST_SEED=${seed}`);
  for (let round = 0; round < 12; round++) {
    const dice = new Dice(seed + round);
    const name = `random${round}`;
    const root = await prepared(name, async (folder) => edit(dice, folder, 40));
    await edit(dice, root, 25);
    const file = engine.at(`${name}.tar${dice.pick(['', '.gz', '.zst'])}`);
    await engine.ok('--root', root, 'changes', '-o', file);
    const base = engine.at(`${name}-base`);
    await engine.ok('--root', base, 'merge', file);
    const [wanted, got] = await Promise.all(
      [root, base].map(async (tree) => engine.ok('--root', tree, 'manifest')),
    );
    t.deepEqual(got?.split('\n'), wanted?.split('\n'), `seed ${seed}, round ${round}`);
    t.deepEqual(await listing(base), await listing(root), `seed ${seed}, round ${round}`);
    // The merged tree has the same changes as the edited one: same state, same bytes.
    await engine.ok('--root', base, '--suspect-all', 'changes', '-o', engine.at('again.tar'));
    await engine.ok('--root', root, 'changes', '-o', engine.at('first.tar'));
    await run('cmp', [engine.at('first.tar'), engine.at('again.tar')]);
    await Promise.all([root, base].map(async (tree) => rm(tree, { recursive: true })));
  }
});

test('a foreign base is refused with both ids, --force goes on, and without a base nothing is merged', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const one = await prepared('one', async (root) => writeFile(`${root}/a`, '1'));
  const two = await prepared('two', async (root) => writeFile(`${root}/a`, '2'));
  await writeFile(`${one}/b`, 'b');
  const file = engine.at('one.tar.zst');
  await engine.ok('--root', one, 'changes', '-o', file);
  const [idOne, idTwo] = await Promise.all(
    [one, two].map(async (root) => (await readFile(`${root}/var/lib/apppot/base-id`, 'utf8')).trim()),
  );
  const refused = await engine.snap('--root', two, 'merge', file);
  t.is(refused.exitCode, 3);
  t.true(refused.stderr.includes(idOne ?? '?') && refused.stderr.includes(idTwo ?? '?'));
  await engine.ok('--root', two, '--force', 'merge', file);
  t.is(await readFile(`${two}/b`, 'utf8'), 'b');
  await mkdir(engine.at('none'));
  t.is((await engine.snap('--root', engine.at('none'), 'merge', file)).exitCode, 5);
  t.is((await engine.snap('--root', engine.at('none'), 'changes', '-o', '-')).exitCode, 5);
});

test('the digest is the same by the processor’s instructions and by plain code', async (t) => {
  const root = engine.at('digest');
  await mkdir(root);
  await writeFile(`${root}/big`, Buffer.alloc(1_000_003, 'xyz'));
  const manifest = await engine.ok('--root', root, 'manifest');
  t.is(await engine.ok('--root', root, '--plain-digest', 'manifest'), manifest);
  const { stdout } = await run('sha256sum', [`${root}/big`]);
  t.true(manifest.includes(stdout.slice(0, 64)));
});

test('umoci unpacks base and changes to the edited tree', async (t) => {
  if (!requireOrSkip(t, isRoot, 'needs root')) return;
  const dice = new Dice(4711);
  const root = await prepared('oci', async (folder) => edit(dice, folder, 40));
  await edit(dice, root, 25);
  await run('tar', [
    '--xattrs',
    '--xattrs-include=*',
    '--format=posix',
    '-C',
    engine.at('oci-base'),
    '-cf',
    engine.at('base.tar'),
    '.',
  ]);
  await engine.ok('--root', root, 'changes', '-o', engine.at('changes.tar'));
  const image = engine.at('layout');
  await run('umoci', ['init', '--layout', image]);
  await run('umoci', ['new', '--image', `${image}:x`]);
  for (const layer of ['base.tar', 'changes.tar'])
    await run('umoci', ['raw', 'add-layer', '--image', `${image}:x`, engine.at(layer)]);
  const unpacked = engine.at('unpacked');
  await run('umoci', ['raw', 'unpack', '--image', `${image}:x`, unpacked]);
  // An empty value of a pax record takes the record away, so attributes without a value are lost in Go's tar reader.
  const strip = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const fields = line.split('\t');
        const xattrs = (fields[9] ?? '').split(',').filter((pair) => !pair.endsWith('='));
        fields[9] = xattrs.length === 0 ? '-' : xattrs.join(',');
        return fields.join('\t');
      });
  const wanted = strip(await engine.ok('--root', root, 'manifest'));
  const got = strip(await engine.ok('--root', unpacked, 'manifest'));
  // A file of which only the time differs is not in a layer: see docs/snapshots.md.
  const touched = new Set(
    (await engine.ok('inspect', engine.at('changes.tar')))
      .split('\n')
      .flatMap((line) => /^T \S+ (.*)$/.exec(line)?.[1] ?? []),
  );
  const comparable = (lines: readonly string[]): string[] =>
    lines.filter((line) => !touched.has(line.split('\t').at(-1) ?? ''));
  t.deepEqual(comparable(got), comparable(wanted));
});
