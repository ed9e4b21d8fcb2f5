import test from 'ava';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSettings, settingsFiles } from '../../src/config/load.ts';
import { SETTINGS } from '../../src/config/settings.ts';
import { ApppotError } from '../../src/errors.ts';

/** A system-wide settings file with this text, and an environment that names it. */
async function withFile(
  text: string,
): Promise<{ env: NodeJS.ProcessEnv; file: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'apppot test '));
  const file = join(folder, 'apppot', 'apppot.ini');
  await mkdir(join(folder, 'apppot'));
  await writeFile(file, text);
  return { env: { XDG_CONFIG_DIRS: folder }, file, remove: async () => rm(folder, { recursive: true }) };
}

test('a value in a file is used, with the file as its origin', async (t) => {
  const { env, file, remove } = await withFile('[run]\nmem = 2G\ncpus = 4\n');
  const settings = loadSettings(env);
  t.deepEqual(settings.mem, { value: '2G', origin: `${file}:2` });
  t.deepEqual(settings.cpus, { value: 4, origin: `${file}:3` });
  await remove();
});

test('the environment wins over a file, and a default fills the rest', async (t) => {
  const { env, remove } = await withFile('[run]\nmem = 2G\n');
  const settings = loadSettings({ ...env, APPPOT_MEM: '3G' });
  t.deepEqual(settings.mem, { value: '3G', origin: 'APPPOT_MEM' });
  t.deepEqual(settings.release, { value: 'stable', origin: 'default' });
  t.is(settings.image, undefined);
  await remove();
});

test('all mistakes are named at once, with file, setting and value', async (t) => {
  const { env, file, remove } = await withFile('[run]\nmem = much\nmemory = 2G\n[build]\ndriver = magic\n');
  const error = t.throws(() => loadSettings(env), { instanceOf: ApppotError });
  t.is(error.code, 'config');
  t.true(error.message.includes(`${file}:3: there is no setting run.memory.`));
  t.true(error.message.includes('run.mem must be a size'));
  t.true(error.message.includes('"much"'));
  t.true(error.message.includes('build.driver must be unshare, uml or rootstrap, not "magic"'));
  await remove();
});

test('sections of targets belong to others', async (t) => {
  const { env, remove } = await withFile('[target cluster]\ntype = slurm\n');
  t.notThrows(() => loadSettings(env));
  await remove();
});

test('relative folders in XDG variables are ignored, as the specification says', (t) => {
  t.false(
    settingsFiles({ XDG_CONFIG_DIRS: 'relative:/etc/xdg' }).some((file) => file.startsWith('relative')),
  );
});

test('every setting has a description, and names and variables are unique', (t) => {
  const all = Object.values(SETTINGS);
  for (const { name, variable, description } of all) {
    t.regex(name, /^[a-z]+\.[a-z]+$/);
    t.regex(variable, /^APPPOT_[A-Z]+$/);
    t.true(description.endsWith('.'));
  }
  t.is(new Set(all.map(({ name }) => name)).size, all.length);
  t.is(new Set(all.map(({ variable }) => variable)).size, all.length);
});
