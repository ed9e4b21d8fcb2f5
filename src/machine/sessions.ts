import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { stateFolder } from '../config/paths.ts';
import { ApppotError, systemCode } from '../errors.ts';
import type { ChangesFile } from './changes.ts';

/** Changes to an image that are kept from one shell to the next. */
export interface Session {
  readonly name: string;
  /** The image that the session was made with, at that time. */
  readonly image: string;
  /** The changes below it, lowest first: it goes with these only. */
  readonly changes: readonly ChangesFile[];
  /** The copy-on-write file; with layers below, the disk of the overlay's upper half. */
  readonly cow: string;
  /** Bytes that the changes take on the disk. */
  readonly bytes: number;
  /** Last change, ISO 8601. */
  readonly changed: string;
}

const SUPERBLOCK_OFFSET = 1024;
const SUPERBLOCK_BYTES = 1024;

/**
 * Makes (or finds) the session of an image and returns its copy-on-write file. The file itself knows which
 * image it belongs to: the launcher refuses another one.
 *
 * @param image path of the image
 * @param name session name; by default one for each state of each image with each list of changes
 * @param changes what lies below the session
 * @throws ApppotError `image-invalid`, `not-found`, or `usage` for a name that cannot be one, or that is taken by
 *   a session on top of other changes
 */
export async function openSession(
  image: string,
  name?: string,
  changes: readonly ChangesFile[] = [],
): Promise<{ name: string; cow: string }> {
  const chosen = name ?? (await defaultName(image, changes));
  const folder = sessionFolder(chosen);
  const kept = await readSession(chosen);
  if (kept !== undefined && kept.bytes > 0) refuseOtherChanges(kept, changes);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'session.json'), `${JSON.stringify({ image: resolve(image), changes })}\n`, {
    mode: 0o600,
  });
  return { name: chosen, cow: cowOf(folder, changes) };
}

/** All sessions of this user, by name. */
export async function listSessions(): Promise<readonly Session[]> {
  const folder = stateFolder('sessions');
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const sessions = await Promise.all(names.sort().map(readSession));
  return sessions.filter((session) => session !== undefined);
}

/**
 * Removes a session and its changes.
 *
 * @throws ApppotError `not-found`
 */
export async function removeSession(name: string): Promise<void> {
  const session = await readSession(name);
  if (session === undefined) {
    throw new ApppotError('not-found', `There is no session "${name}".`, {
      hint: '"apppot sessions list" shows them.',
    });
  }
  await rm(sessionFolder(name), { recursive: true });
}

async function defaultName(image: string, changes: readonly ChangesFile[]): Promise<string> {
  const words = [basename(image).replace(/[^A-Za-z0-9._-]/g, '_'), await imageMark(image)];
  if (changes.length > 0) {
    const list = changes.map(({ digest }) => digest).join('\n');
    words.push(createHash('sha256').update(list).digest('hex').slice(0, 8));
  }
  return words.join('-');
}

/** Layers are mounted below a disk of another format than a plain copy-on-write file. */
function cowOf(folder: string, changes: readonly ChangesFile[]): string {
  return join(folder, changes.some(({ layer }) => layer) ? 'upper' : 'cow');
}

function refuseOtherChanges(kept: Session, changes: readonly ChangesFile[]): void {
  const list = (files: readonly ChangesFile[]): string =>
    files.map(({ digest, layer }) => `${digest} ${layer ? 'layer' : 'tar'}`).join('\n');
  if (list(kept.changes) === list(changes)) return;
  throw new ApppotError('usage', `The session "${kept.name}" was made on top of other changes.`, {
    hint:
      kept.changes.length === 0
        ? 'Leave --changes out, or give another --session.'
        : `Give the same again (${kept.changes.map(({ path }) => `--changes ${path}`).join(' ')}), or another --session.`,
  });
}

/**
 * Short text that tells images, and states of one image, apart: from the superblock, which every mount for
 * writing changes and which copying does not.
 */
async function imageMark(image: string): Promise<string> {
  const file = await open(image).catch((error: unknown) => {
    throw new ApppotError('not-found', `Cannot open the image ${image}.`, {
      cause: error,
      hint: 'Make one with "apppot build-image", or name one with --image.',
    });
  });
  try {
    const superblock = Buffer.alloc(SUPERBLOCK_BYTES);
    const { bytesRead } = await file.read(superblock, 0, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET);
    if (bytesRead !== SUPERBLOCK_BYTES || superblock.readUInt16LE(0x38) !== 0xef53) {
      throw new ApppotError('image-invalid', `${image} is not an AppPot image.`, {
        hint: 'An image is a raw ext4 file system, as "apppot build-image" makes it.',
      });
    }
    return createHash('sha256').update(superblock).digest('hex').slice(0, 8);
  } finally {
    await file.close();
  }
}

async function readSession(name: string): Promise<Session | undefined> {
  const folder = sessionFolder(name);
  try {
    const text = await readFile(join(folder, 'session.json'), 'utf8');
    // Sessions from before --changes have no list.
    const { image, changes = [] } = JSON.parse(text) as { image: string; changes?: readonly ChangesFile[] };
    const cow = cowOf(folder, changes);
    const status = await stat(cow).catch(() => undefined);
    return {
      name,
      image,
      changes,
      cow,
      // Blocks of 512 bytes, see stat(2): the file is sparse, and its length says nothing.
      bytes: (status?.blocks ?? 0) * 512,
      changed: (status?.mtime ?? new Date(0)).toISOString(),
    };
  } catch {
    return undefined;
  }
}

function sessionFolder(name: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/.test(name)) {
    throw new ApppotError('usage', `A session cannot be called "${name}".`, {
      hint: 'Use letters, digits, dots, dashes and underscores.',
    });
  }
  return stateFolder('sessions', name);
}
