/** Layers: changes files as squashfs, made once on the desktop and mounted at every launch instead of unpacked. */
import { createHash, randomBytes } from 'node:crypto';
import {
  constants,
  copyFile,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { cacheFolder } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import { openOutput } from '../image/output.ts';
import { runPiped } from '../process/pipe.ts';
import { run } from '../process/run.ts';
import type { Progress } from '../progress.ts';
import { withLock } from '../runtime/lock.ts';
import { isOnPath } from './compress.ts';
import { collector, engineError, Listener, snapRuntime } from './engine.ts';
import { digestOf, isLayer, markBlock } from './layer-file.ts';
import { verifyFile } from './verify.ts';

/** What {@link layerFor} takes beside the file. */
export interface LayerOptions {
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Memory of sqfstar's queues. */
const MEMORY = '64M';

/**
 * With more paths than this equal files are stored as often as they are there: sqfstar compares each file with all others
 * of the same size, so a million of them take hours.
 */
const MOST_COMPARED = 20_000;

/** Unfinished files of killed processes are older than this, in milliseconds. */
const LEFT_MS = 24 * 3600 * 1000;

/**
 * The layer of a changes file: from the cache, or made now. Processes that want the same layer wait for the one that
 * makes it.
 *
 * @param file a changes file; a layer is returned as it is
 * @returns path of the layer, or `file` itself where no layer can be made of it; then a note says why
 * @throws ApppotError `archive`, `not-found`, `no-space`, `interrupted`
 */
export async function layerFor(file: string, options: LayerOptions): Promise<string> {
  const { progress, signal } = options;
  await mustExist(file);
  if (await isLayer(file)) return file;
  if (!(await isOnPath('sqfstar'))) {
    progress.note(
      `${basename(file)} is unpacked at every start: with the Debian package squashfs-tools it is mounted.`,
    );
    return file;
  }
  const folder = cacheFolder('layers');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const digest = await knownDigest(file, folder, signal);
  const layer = join(folder, `${digest}.layer`);
  const unfit = join(folder, `${digest}.acl`);
  const isThere = async (path: string): Promise<boolean> =>
    (await stat(path).catch(() => undefined)) !== undefined;
  if (await isThere(layer)) return layer;
  if (await isThere(unfit)) return file;
  const onWait = (owner: string): void => {
    progress.note(`Waiting for process ${owner}, which makes the same layer.`);
  };
  return withLock(join(folder, `.${digest}.lock`), signal, onWait, async () => {
    if (await isThere(layer)) return layer;
    if (await isThere(unfit)) return file;
    await removeLeft(folder);
    const made = await progress.step(`Making a layer of ${basename(file)}`, async () =>
      makeLayer(file, digest, layer, signal),
    );
    if (made) return layer;
    await writeFile(unfit, '');
    progress.note(
      `${basename(file)} has access lists (ACL), which no layer can hold: it is unpacked at every start.`,
    );
    return file;
  });
}

/**
 * Makes the layer of a changes file, for sending along.
 *
 * @param output where a copy goes; without it, it stays in the cache
 * @throws ApppotError as {@link layerFor}; `missing-tool` or `archive` where no layer can be made; `exists`
 */
export async function saveLayer(
  file: string,
  output: string | undefined,
  force: boolean,
  options: LayerOptions,
): Promise<string> {
  const place = output === undefined ? undefined : await openOutput(output, force, 'layer');
  const layer = await layerFor(file, options);
  if (layer === file && !(await isLayer(file)))
    throw (await isOnPath('sqfstar'))
      ? new ApppotError('archive', `${file} cannot be a layer.`, { hint: 'A launch unpacks it.' })
      : new ApppotError('missing-tool', 'There is no program sqfstar.', {
          hint: 'Install the Debian package squashfs-tools.',
        });
  if (place === undefined) return layer;
  try {
    await copyFile(layer, place.temporary, constants.COPYFILE_FICLONE);
    await place.commit();
  } finally {
    await place.discard();
  }
  return place.path;
}

/**
 * Makes a layer.
 *
 * @param digest SHA-256 of the changes file
 * @param target its name; there only when it is complete
 * @returns false when the changes hold what a layer cannot
 */
async function makeLayer(
  file: string,
  digest: string,
  target: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { helper } = await snapRuntime();
  const { base, added = 0, changed = 0 } = await verifyFile(file, signal);
  const part = join(target, '..', `.${randomBytes(6).toString('hex')}.part`);
  try {
    if ((await pack(file, part, added + changed > MOST_COMPARED, signal)) > 0) return false;
    const handle = await open(part, 'r+');
    try {
      const { size } = await handle.stat();
      const padded = Math.ceil(size / 4096) * 4096;
      await handle.truncate(padded);
      const sha256 = await digestOf(part, padded, signal);
      const { stdout } = await run(helper, ['--crc32c', part], { signal });
      const crc32c = /^([0-9a-f]{8})\b/.exec(stdout)?.[1];
      if (crc32c === undefined) throw new ApppotError('internal', `no check sum: ${stdout}`);
      const mark = { base: base ?? '', changes: digest, size: padded, sha256, crc32c };
      await handle.write(markBlock(mark), 0, 4096, padded);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(part, target);
    return true;
  } finally {
    await rm(part, { force: true });
  }
}

/**
 * apppot-snap layer-tar | sqfstar. No time of making goes in. sqfstar passes over
 * the archive's own root folder; an overlay shows the one of its upper half anyway.
 *
 * @param isMany store equal files apart
 * @returns how many paths have access lists: names that squashfs has no number for
 * @see https://docs.kernel.org/filesystems/squashfs.html
 */
async function pack(file: string, part: string, isMany: boolean, signal: AbortSignal): Promise<number> {
  const { snap } = await snapRuntime();
  const words = [
    '-comp',
    'zstd',
    ...['-mkfs-time', '0', '-root-time', '0', '-root-mode', '0755', '-root-uid', '0', '-root-gid', '0'],
    '-no-progress',
    '-quiet',
    '-exit-on-error',
    ...(isMany ? ['-no-duplicates'] : []),
    '-mem',
    MEMORY,
    part,
  ];
  const listener = new Listener();
  const tar = new PassThrough();
  const { sink } = collector();
  const what = `Making a layer of ${basename(file)}`;
  const [engine, packer] = await Promise.all([
    runPiped(snap, ['--json', 'layer-tar', '-o', '-', '--', file], {
      signal,
      stdout: tar,
      onLine: listener.line,
    }),
    runPiped('sqfstar', words, { signal, stdin: tar, stdout: sink }),
  ]);
  if (engine.code !== 0 && packer.code === 0) throw engineError(what, listener.answer(engine.code));
  if (packer.code === 0) return Number(listener.answer(engine.code).summary?.['acls'] ?? 0);
  const isFull = /No space left|quota/i.test(packer.stderr);
  throw new ApppotError(isFull ? 'no-space' : 'process-failed', `${what} failed: ${packer.stderr.trim()}`, {
    hint: isFull ? `Make room in ${cacheFolder('layers')}.` : undefined,
  });
}

/** SHA-256 of a file. It is remembered by what changes whenever the file does: reading 500 MB takes a second. */
async function knownDigest(file: string, folder: string, signal: AbortSignal): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
  const facts = [resolve(file), dev, ino, size, mtimeNs, ctimeNs].join('\0');
  const memory = join(folder, `${createHash('sha256').update(facts).digest('hex')}.known`);
  const known = await readFile(memory, 'utf8').catch(() => '');
  if (/^[0-9a-f]{64}$/.test(known)) return known;
  const digest = await digestOf(file, Number(size), signal);
  const part = join(folder, `.${randomBytes(6).toString('hex')}.part`);
  await writeFile(part, digest);
  await rename(part, memory);
  return digest;
}

/** Removes what killed processes left. */
async function removeLeft(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.part')) continue;
    const path = join(folder, name);
    const status = await stat(path).catch(() => undefined);
    if (status !== undefined && Date.now() - status.mtimeMs > LEFT_MS) await rm(path, { force: true });
  }
}

async function mustExist(file: string): Promise<void> {
  const status = await stat(file).catch((error: unknown) => {
    throw new ApppotError('not-found', `Cannot open the changes file ${file}.`, {
      cause: error,
      hint: 'Changes are made by "apppot snap changes".',
    });
  });
  if (!status.isFile()) throw new ApppotError('archive', `${file} is not a file.`);
}
