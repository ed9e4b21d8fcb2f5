/** From options and configuration files to one set of settings. */
import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';
import { at, resolveModules, type Module } from './modules.ts';
import { mergeConf, parseConf, readConf, type Conf } from './conf.ts';
import { guestDependencies } from './guest-package.ts';
import { packageList, packageSet } from './packages.ts';
import { parseSize } from './size.ts';

/** What the user may say on the command line. */
export interface BuildRequest {
  /** Folder that relative names refer to: $WORKDIR, and where ./rootstrap.conf and ./modules are looked for. */
  readonly workFolder: string;
  /** A configuration file in place of ./rootstrap.conf. */
  readonly config?: string | undefined;
  readonly release?: string | undefined;
  readonly include?: string | undefined;
  readonly packages?: string | undefined;
  readonly scripts: readonly string[];
  readonly size?: string | undefined;
  readonly mirror?: string | undefined;
}

/** A user's recipe. */
export interface Script {
  readonly name: string;
  readonly content: Uint8Array;
}

/** Everything that decides what an image will be, before a mirror is asked. */
export interface Settings {
  readonly modules: readonly Module[];
  readonly release: string;
  readonly mirror: string | undefined;
  /** Lines of sources.list that the configuration states; undefined: made from release and mirror. */
  readonly sources: readonly string[] | undefined;
  readonly packageSet: string;
  readonly packages: readonly string[];
  readonly scripts: readonly Script[];
  readonly sizeMebibytes: number;
  readonly fileSystem: string;
  /** The configuration files that were read. */
  readonly files: readonly string[];
}

/** The system-wide configuration of rootstrap(1). */
const SYSTEM_CONF = '/etc/rootstrap/rootstrap.conf';

/** What holds when no file says otherwise. */
const DEFAULTS = `[global]
modules=network mkfs mount debian uml apppot umount
fstype=ext4
initialsize=1024
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[debian]
packages=minimal
`;

/**
 * Reads the configuration and lays the command line over it.
 *
 * @throws ApppotError `usage`, `config`, `config-syntax`, `not-found`
 */
export async function readSettings(request: BuildRequest): Promise<Settings> {
  const layers: Conf[] = [parseConf(DEFAULTS, 'built-in defaults')];
  const files: string[] = [];
  const local = resolve(request.workFolder, request.config ?? 'rootstrap.conf');
  for (const [file, optional] of [
    [SYSTEM_CONF, true] as const,
    [local, request.config === undefined] as const,
  ]) {
    const conf = await readConf(file, optional);
    if (conf === undefined) continue;
    layers.push(conf);
    files.push(file);
  }
  const conf = mergeConf(layers);
  const modules = await resolveModules(conf, request.workFolder);
  const option = (section: string, name: string): string | undefined => {
    const value = conf.get(section)?.options.get(name)?.value;
    return value === '' ? undefined : value;
  };
  const setName = request.packages ?? option('debian', 'packages') ?? 'minimal';
  const packages = new Set([
    ...(await guestDependencies()),
    ...(await packageSet(setName)),
    ...packageList(`${option('debian', 'install') ?? ''} ${option('debian', 'include') ?? ''}`),
    ...packageList(request.include ?? ''),
  ]);
  const sources = option('debian', 'sources')
    ?.split('\n')
    .filter((line) => line !== '');
  return {
    modules,
    release: checkRelease(request.release ?? option('debian', 'dist') ?? 'stable'),
    mirror: checkMirror(request.mirror ?? option('debian', 'mirror')),
    // Lines for one release or mirror do not fit another that the command line names.
    sources: request.release === undefined && request.mirror === undefined ? sources : undefined,
    packageSet: setName,
    packages: [...packages].sort(),
    scripts: await Promise.all(
      request.scripts.map(async (file) => readScript(resolve(request.workFolder, file))),
    ),
    sizeMebibytes: sizeOf(conf, request.size),
    fileSystem: checkFileSystem(conf),
    files,
  };
}

function sizeOf(conf: Conf, asked: string | undefined): number {
  if (asked !== undefined) return parseSize(asked);
  const value = conf.get('global')?.options.get('initialsize');
  if (value === undefined) return 1024;
  try {
    return parseSize(value.value);
  } catch (error) {
    if (!(error instanceof ApppotError)) throw error;
    throw new ApppotError('config', `${at(value)}: initialsize: ${error.message}`, { hint: error.hint });
  }
}

function checkFileSystem(conf: Conf): string {
  const value = conf.get('global')?.options.get('fstype');
  if (value === undefined) return 'ext4';
  if (['ext2', 'ext3', 'ext4'].includes(value.value)) return value.value;
  throw new ApppotError('config', `${at(value)}: fstype "${value.value}" is not possible.`, {
    hint: 'Known: ext2, ext3, ext4.',
  });
}

function checkRelease(name: string): string {
  if (/^[a-z][a-z0-9.-]*$/.test(name)) return name;
  throw new ApppotError('usage', `"${name}" is not the name of a Debian release.`, {
    hint: 'Examples: stable, trixie, bookworm.',
  });
}

function checkMirror(url: string | undefined): string | undefined {
  if (url === undefined || /^(https?|file):\/\/?[^\s"'|\\]+$/.test(url)) return url;
  throw new ApppotError('usage', `"${url}" is not the address of a mirror.`, {
    hint: 'It looks like http://deb.debian.org/debian.',
  });
}

async function readScript(file: string): Promise<Script> {
  try {
    const content = await readFile(file);
    if (!content.subarray(0, 2).equals(Buffer.from('#!')))
      throw new ApppotError('usage', `The script ${file} does not begin with "#!".`, {
        hint: 'Its first line has to name the program that runs it, such as #!/bin/sh.',
      });
    return { name: basename(file), content };
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    throw new ApppotError('not-found', `The script ${file} cannot be read (${code}).`, { cause: error });
  }
}
