/**
 * Fetches sources with apt, with folders of its own: the system's sources, lists and caches are neither used nor
 * changed, no privilege is needed, and apt checks the archive's signatures as always.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../errors.ts';
import { run } from '../process/run.ts';
import { fileDigest } from './digest.ts';
import type { Source } from './types.ts';

/** Where the kernel comes from: backports of the stable release, and that release's source packages. */
const KERNEL_SUITE = 'trixie-backports';
const LIBRARY_SUITE = 'trixie';
/** Patches and configuration are for this version and newer ones. */
const FLOOR: readonly [number, number] = [7, 3];
/** Debian's own keys: on every Debian system, and installed by `npm run setup` elsewhere. */
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** A source that has been fetched. */
export interface Fetched extends Source {
  readonly file: string;
}

/** The sources of the helper's library: its own and Debian's part. */
export interface FetchedLibrary {
  readonly original: Fetched;
  readonly debian: Fetched;
}

/** apt with private folders. */
export interface PrivateApt {
  /** Newest linux-source package at or above the floor: downloads it, or takes what is in `downloads` already. */
  kernelSource(): Promise<Fetched>;
  librarySource(): Promise<FetchedLibrary>;
}

/**
 * Sets up apt in `folder` and reads the mirror's signed index.
 *
 * @param folder private folder for apt's state
 * @param downloads folder that keeps what was downloaded
 * @throws ApppotError `mirror` when the mirror does not answer or a signature is wrong
 */
export async function privateApt(
  folder: string,
  downloads: string,
  mirror: string,
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<PrivateApt> {
  for (const part of ['lists/partial', 'cache/archives/partial', 'etc']) {
    await mkdir(join(folder, part), { recursive: true });
  }
  await mkdir(downloads, { recursive: true });
  const by = `[signed-by=${KEYRING}]`;
  await writeFile(
    join(folder, 'etc', 'sources.list'),
    `deb ${by} ${mirror} ${KERNEL_SUITE} main\ndeb-src ${by} ${mirror} ${LIBRARY_SUITE} main\n`,
  );
  await writeFile(join(folder, 'etc', 'apt.conf'), configuration(folder));
  await writeFile(join(folder, 'status'), '');
  const apt = async (program: string, ...args: readonly string[]): Promise<string> => {
    const options = { cwd: downloads, env: { ...env, APT_CONFIG: join(folder, 'etc', 'apt.conf') }, signal };
    try {
      return (await run(program, args, options)).stdout;
    } catch (error) {
      if (!(error instanceof ApppotError) || error.code !== 'process-failed') throw error;
      throw new ApppotError('mirror', `Cannot fetch sources from ${mirror}: ${error.message}`, {
        cause: error,
        hint: 'Check network, proxy (http_proxy) and mirror (--mirror), or give a kernel source with --source.',
        transient: true,
      });
    }
  };
  await apt('apt-get', '-q', 'update', '--error-on=any');
  return {
    kernelSource: async () => {
      const name = newest(await apt('apt-cache', 'search', '--names-only', '^linux-source-[0-9.]+$'), mirror);
      const record = await apt('apt-cache', 'show', '--no-all-versions', name);
      await apt('apt-get', '-q', 'download', name);
      const version = field(record, 'Version');
      // apt-get download writes the colon of an epoch as %3a.
      const file = `${name}_${version.replaceAll(':', '%3a')}_${field(record, 'Architecture')}.deb`;
      return fetched(downloads, file, name, version);
    },
    librarySource: async () => {
      // The .dsc is of no use here: the index holds the digests of the tarballs, too.
      await apt('apt-get', '-q', 'source', '--download-only', '--tar-only', 'libslirp');
      await apt('apt-get', '-q', 'source', '--download-only', '--diff-only', 'libslirp');
      const record = await apt('apt-cache', 'showsrc', '--only-source', 'libslirp');
      const version = field(record, 'Version');
      const file = (pattern: RegExp): Promise<Fetched> =>
        fetched(downloads, pattern.exec(record)?.[0] ?? '', 'libslirp', version);
      return {
        original: await file(/libslirp_\S+\.orig\.tar\.\w+$/m),
        debian: await file(/libslirp_\S+\.debian\.tar\.\w+$/m),
      };
    },
  };
}

async function fetched(folder: string, name: string, source: string, version: string): Promise<Fetched> {
  const file = join(folder, name);
  return { name: source, version, file, sha256: await fileDigest(file) };
}

function newest(listing: string, mirror: string): string {
  const versions = [...listing.matchAll(/^linux-source-(\d+)\.(\d+) /gm)]
    .map((match): [number, number] => [Number(match[1]), Number(match[2])])
    .filter(([major, minor]) => major > FLOOR[0] || (major === FLOOR[0] && minor >= FLOOR[1]))
    .sort((a, b) => b[0] - a[0] || b[1] - a[1]);
  const best = versions[0];
  if (best === undefined) {
    throw new ApppotError(
      'runtime-source',
      `${mirror} has no linux-source-${FLOOR.join('.')} or newer in ${KERNEL_SUITE}.`,
      { hint: 'Give a kernel source with --source TARBALL, or another mirror with --mirror.' },
    );
  }
  return `linux-source-${best.join('.')}`;
}

function field(record: string, name: string): string {
  const value = new RegExp(`^${name}: (.*)$`, 'm').exec(record)?.[1];
  if (value === undefined) throw new ApppotError('mirror', `The mirror's index has no ${name} of a package.`);
  return value.trim();
}

function configuration(folder: string): string {
  const quoted = (part: string): string => `"${join(folder, part)}"`;
  return [
    `Dir::State::Lists ${quoted('lists')};`,
    `Dir::State::status ${quoted('status')};`,
    `Dir::State::extended_states ${quoted('extended_states')};`,
    `Dir::Cache ${quoted('cache')};`,
    `Dir::Etc::SourceList ${quoted('etc/sources.list')};`,
    'Dir::Etc::SourceParts "/dev/null";',
    'Dir::Etc::Preferences "/dev/null";',
    'Dir::Etc::PreferencesParts "/dev/null";',
    // The kernel of User-Mode Linux is one for amd64, whatever else the host has.
    'APT::Architecture "amd64";',
    'APT::Architectures { "amd64"; };',
    'APT::Sandbox::User "";',
    'Acquire::Languages "none";',
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";',
    'Debug::NoLocking "true";',
    '',
  ].join('\n');
}
