import test, { type ExecutionContext } from 'ava';
import { access, copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { findRuntime } from '../../src/runtime/find.ts';
import { requireOrSkip } from '../helpers/require.ts';

/** The programs of the runtime, and how each tells that it runs. */
const PROGRAMS: readonly (readonly [name: string, option: string, words: RegExp])[] = [
  ['linux', '--version', /^7\.\d+/],
  ['linux-smp', '--help', /^ncpus=/m],
  ['slirp', '--help', /^usage: slirp/m],
  ['apppot-snap', '--help', /^usage: apppot-snap/m],
];

/** Runs each program in a chroot at `root`. */
async function runThere(t: ExecutionContext, folder: string, root: string): Promise<void> {
  for (const [name, option, words] of PROGRAMS) {
    await copyFile(join(folder, name), join(root, name));
    // The kernel starts itself again to switch off address randomisation, and looks for itself in /proc, which is
    // not there; setarch -R has switched it off already.
    const command = ['-R', 'chroot', root, `/${name}`, option];
    const result = await run('setarch', command, { okCodes: [0, 1, 2, 64] });
    t.regex(result.stdout + result.stderr, words);
    await rm(join(root, name));
  }
}

test('kernels and helper run where there is no other file at all', async (t) => {
  const { folder } = await findRuntime();
  if (!requireOrSkip(t, folder !== undefined, 'needs a built runtime')) return;
  if (!requireOrSkip(t, process.getuid?.() === 0, 'chroot needs root')) return;
  const root = await mkdtemp(join(tmpdir(), 'apppot-test-'));
  try {
    await runThere(t, folder ?? '', root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

/** A folder with the essential packages of a Debian release; kept in the cache. */
async function userland(release: string): Promise<string | undefined> {
  const root = cacheFolder('test', `userland-${release}`);
  const isThere = access(root).then(
    () => true,
    () => false,
  );
  if (await isThere) return root;
  await mkdir(cacheFolder('test'), { recursive: true });
  const work = await mkdtemp(`${root}.`);
  const words = ['--variant=extract', '--include=libc6,base-files', '--format=directory', release, work];
  const { exitCode } = await run('mmdebstrap', words, { okCodes: [0, 1, 25] });
  if (exitCode === 0) await rename(work, root);
  else await rm(work, { recursive: true, force: true });
  return exitCode === 0 ? root : undefined;
}

for (const release of ['bullseye', 'bookworm', 'trixie']) {
  test(`kernels and helper run in a userland of Debian ${release}`, async (t) => {
    const { folder } = await findRuntime();
    if (!requireOrSkip(t, folder !== undefined, 'needs a built runtime')) return;
    if (!requireOrSkip(t, process.getuid?.() === 0, 'chroot needs root')) return;
    const root = await userland(release);
    if (!requireOrSkip(t, root !== undefined, `the mirror has no ${release}, or mmdebstrap is missing`))
      return;
    await runThere(t, folder ?? '', root ?? '');
  });
}
