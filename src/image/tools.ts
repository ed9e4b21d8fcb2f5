/**
 * The one version of mke2fs that all images are made with. Older ones (Debian 12's 1.47.0) neither read tar files nor
 * give the same image twice, so trixie's is fetched into a private folder, with apt's checks of signatures, and runs
 * there by its own loader. The system is not touched.
 */
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import { run } from '../process/run.ts';
import type { Mirrors } from '../config/mirrors.ts';

/** Release and packages; libarchive is what mke2fs loads to read tar files. */
const TOOLS = { release: 'trixie', packages: ['e2fsprogs', 'libarchive13t64'] } as const;

/** Debian's own keys: installed with every Debian, and by `npm run setup` elsewhere. */
export const DEBIAN_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * The folder with the tools; fetched on the first call (about 16 MB from the mirror, 3 s), kept afterwards.
 *
 * @throws ApppotError `mirror` when they cannot be fetched
 */
export async function findTools(
  mirrors: Mirrors,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string> {
  const folder = cacheFolder('tools', `e2fsprogs-${TOOLS.release}`);
  if (await isComplete(folder)) return folder;
  await mkdir(dirname(folder), { recursive: true });
  const work = await mkdtemp(join(dirname(folder), '.fetch-'));
  try {
    const root = await fetchPackages(work, mirrors, environment, signal);
    // Another build may have been faster; its result is the same.
    await rename(root, folder).catch(async (error: unknown) => {
      if (!(await isComplete(folder))) throw error;
    });
    return folder;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** What the tools are, for digests: names of packages with versions. */
export async function toolVersions(tools: string): Promise<string> {
  return readFile(join(tools, PACKAGES_FILE), 'utf8');
}

const PACKAGES_FILE = 'packages.txt';

async function isComplete(folder: string): Promise<boolean> {
  return access(join(folder, PACKAGES_FILE)).then(
    () => true,
    () => false,
  );
}

async function fetchPackages(
  work: string,
  mirrors: Mirrors,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string> {
  for (const part of ['lists/partial', 'cache/archives/partial', 'root'])
    await mkdir(join(work, part), { recursive: true });
  const source = `deb [signed-by=${DEBIAN_KEYRING}] ${mirrors.archive} ${TOOLS.release} main`;
  await writeFile(join(work, 'sources.list'), `${source}\n`);
  await writeFile(join(work, 'status'), '');
  await writeFile(join(work, 'apt.conf'), privateAptConfiguration(work));
  const options = { env: { ...environment, APT_CONFIG: join(work, 'apt.conf') }, signal };
  try {
    await run('apt-get', ['-q', 'update'], options);
    await run(
      'apt-get',
      ['-q', '-y', '--no-install-recommends', '--download-only', 'install', ...TOOLS.packages],
      options,
    );
  } catch (error) {
    if (!(error instanceof ApppotError) || error.code !== 'process-failed') throw error;
    throw new ApppotError('mirror', `Cannot fetch mke2fs of Debian ${TOOLS.release}: ${error.message}`, {
      cause: error,
      transient: true,
      hint: 'Check the network and the proxy settings, or name another mirror with --mirror.',
    });
  }
  const archives = join(work, 'cache', 'archives');
  const packages = (await readdir(archives)).filter((name) => name.endsWith('.deb'));
  for (const name of packages)
    await run('dpkg-deb', ['-x', join(archives, name), join(work, 'root')], { signal });
  await writeFile(join(work, 'root', PACKAGES_FILE), `${packages.sort().join('\n')}\n`);
  return join(work, 'root');
}

/** apt with folders of its own, and an empty list of installed packages so that all dependencies come along. */
function privateAptConfiguration(work: string): string {
  const quoted = (...parts: string[]): string => `"${join(work, ...parts)}"`;
  return [
    `Dir::State::Lists ${quoted('lists')};`,
    `Dir::State::status ${quoted('status')};`,
    `Dir::State::extended_states ${quoted('extended_states')};`,
    `Dir::Cache ${quoted('cache')};`,
    `Dir::Etc::SourceList ${quoted('sources.list')};`,
    'Dir::Etc::SourceParts "/dev/null";',
    'Dir::Etc::Preferences "/dev/null";',
    'Dir::Etc::PreferencesParts "/dev/null";',
    'APT::Sandbox::User "";',
    'Debug::NoLocking "true";',
    '',
  ].join('\n');
}

/**
 * A program of the tools folder and the arguments to run it by its own loader.
 *
 * @param tools what {@link findTools} returned
 * @param name such as mke2fs, e2fsck, resize2fs
 */
export async function toolCommand(
  tools: string,
  name: string,
): Promise<{ readonly file: string; readonly args: readonly string[] }> {
  const libraries = (await readdir(join(tools, 'usr', 'lib'))).find((entry) => /-linux-/.test(entry)) ?? '';
  for (const folder of [join(tools, 'usr', 'lib64'), join(tools, 'usr', 'lib', libraries)]) {
    const loader = (await readdir(folder).catch(() => [])).find((entry) =>
      /^ld-linux.*\.so\.\d+$/.test(entry),
    );
    if (loader !== undefined)
      return {
        file: join(folder, loader),
        args: ['--library-path', join(tools, 'usr', 'lib', libraries), join(tools, 'usr', 'sbin', name)],
      };
  }
  throw new ApppotError('internal', `There is no loader in ${tools}.`);
}
