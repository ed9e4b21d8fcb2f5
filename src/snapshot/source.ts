/** What a snapshot is taken of: an image, an image with kept changes, or a session. */
import { access, constants, open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';
import { listSessions, type Session } from '../machine/sessions.ts';
import { refuseInUse } from './in-use.ts';

/** The disks of a guest. */
export interface Source {
  /** As the user named it. */
  readonly name: string;
  readonly kind: 'image' | 'cow' | 'session';
  readonly image: string;
  /** What holds the changes to the image: a copy-on-write file, or the upper disk above layers. */
  readonly cow?: string;
  /** Layers between image and upper disk, lowest first. */
  readonly layers: readonly string[];
}

/**
 * Finds out what the user means: a file, COW:IMAGE, or the name of a session, in this order.
 *
 * @throws ApppotError `not-found`, `image-invalid`, `permission`, `locked` when a guest writes to it
 */
export async function findSource(name: string): Promise<Source> {
  const source = (await imageSource(name)) ?? (await pairSource(name)) ?? (await sessionSource(name));
  if (source === undefined)
    throw new ApppotError('not-found', `There is neither an image nor a session "${name}".`, {
      hint: '"apppot sessions list" shows the sessions; COW:IMAGE names a file of kept changes and its image.',
    });
  await checkImage(source.image);
  await refuseInUse(source.image, source.image);
  if (source.cow !== undefined) {
    await readable(source.cow);
    await refuseInUse(source.cow, source.kind === 'session' ? `the session ${name}` : source.cow);
  }
  for (const layer of source.layers) await readable(layer);
  return source;
}

async function imageSource(name: string): Promise<Source | undefined> {
  const status = await stat(name).catch(() => undefined);
  if (status === undefined) return undefined;
  if (!status.isFile()) throw new ApppotError('image-invalid', `${name} is no image: it is not a file.`);
  return { name, kind: 'image', image: resolve(name), layers: [] };
}

/** COW:IMAGE, where either name may hold colons and commas: the first split whose right side is there. */
async function pairSource(name: string): Promise<Source | undefined> {
  for (const match of name.matchAll(/[:,]/g)) {
    const [cow, image] = [name.slice(0, match.index), name.slice(match.index + 1)];
    if (cow === '' || image === '') continue;
    if ((await stat(image).catch(() => undefined))?.isFile() === true)
      return { name, kind: 'cow', image: resolve(image), cow: resolve(cow), layers: [] };
  }
  return undefined;
}

async function sessionSource(name: string): Promise<Source | undefined> {
  const session = (await listSessions()).find((one) => one.name === name);
  if (session === undefined) return undefined;
  if (session.bytes === 0)
    throw new ApppotError('not-found', `The session "${name}" holds nothing yet.`, {
      hint: 'Open it with "apppot shell" first, or name its image.',
    });
  return { name, kind: 'session', image: session.image, cow: session.cow, layers: layersOf(session) };
}

/** Tar files were unpacked into the session's own disk when it was made: only layers are still needed. */
function layersOf(session: Session): readonly string[] {
  return session.changes.filter(({ layer }) => layer).map(({ path }) => path);
}

/** The superblock says ext2, ext3 or ext4 (magic 0xEF53 at 1024 + 56). */
async function checkImage(image: string): Promise<void> {
  const file = await open(image).catch((error: unknown) => {
    throw unreadable(image, error);
  });
  try {
    const magic = Buffer.alloc(2);
    await file.read(magic, 0, 2, 1024 + 56);
    if (magic.readUInt16LE(0) === 0xef53) return;
  } finally {
    await file.close();
  }
  throw new ApppotError('image-invalid', `${image} is no image with an ext4 file system.`, {
    hint: 'A file of kept changes is named together with its image: COW:IMAGE.',
  });
}

async function readable(file: string): Promise<void> {
  await access(file, constants.R_OK).catch((error: unknown) => {
    throw unreadable(file, error);
  });
}

function unreadable(file: string, cause: unknown): ApppotError {
  if (systemCode(cause) === 'ENOENT')
    return new ApppotError('not-found', `There is no file ${file}.`, {
      cause,
      hint: 'A layer can be made again with "apppot snap layer".',
    });
  return new ApppotError('permission', `${file} cannot be read (${systemCode(cause) ?? 'unknown'}).`, {
    cause,
  });
}
