/** The file that long work makes: complete or not there. */
import { access, constants, link, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ApppotError, systemCode } from '../errors.ts';
import { partName, removeParts } from './part.ts';

/** A file that is being made beside the place where it will be. */
export interface Output {
  readonly path: string;
  /** The file to write; in the same folder, so that giving it its name is one step. */
  readonly temporary: string;
  /** Gives the finished file its name. */
  commit(): Promise<void>;
  /** Removes the unfinished file; does nothing after {@link Output.commit}. */
  discard(): Promise<void>;
}

/**
 * Checks that a file may be written and names the temporary one.
 *
 * @param path where the file shall be
 * @param force whether an existing file may be replaced
 * @param what the file, for messages
 * @throws ApppotError `exists`, `not-found` for a missing folder, `permission`
 */
export async function openOutput(path: string, force: boolean, what = 'image'): Promise<Output> {
  const full = resolve(path);
  const folder = dirname(full);
  const existing = await stat(full).catch(() => undefined);
  if (existing !== undefined && !existing.isFile())
    throw new ApppotError('exists', `${path} is there already and is no file.`);
  if (existing !== undefined && !force)
    throw new ApppotError('exists', `${path} is there already.`, {
      hint: `Give another name with -o, or --force to replace it once the new ${what} is complete.`,
    });
  await access(folder, constants.W_OK).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT')
      throw new ApppotError('not-found', `There is no folder ${folder} to put the ${what} into.`);
    throw new ApppotError('permission', `The folder ${folder} cannot be written to.`, { cause: error });
  });
  await removeParts(full);
  const temporary = partName(full);
  return {
    path: full,
    temporary,
    commit: async () => {
      if (force) await rename(temporary, full);
      else await linkNew(temporary, full);
    },
    discard: async () => rm(temporary, { force: true }),
  };
}

/** A rename that does not replace a file which came into being meanwhile. */
async function linkNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST')
      throw new ApppotError('exists', `${to} came into being meanwhile; it is left as it is.`);
    // File systems without hard links.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
    await rename(from, to);
    return;
  }
  await rm(from);
}
