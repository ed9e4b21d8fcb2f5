/** Results of a job, from its folder at the target to one here. */
import { lstat, mkdir, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ApppotError } from '../../errors.ts';
import { isSafeName } from '../../job/names.ts';
import { isOutput } from '../../job/outputs.ts';
import type { FetchOptions } from '../backend.ts';
import { makeFolders } from '../result-folders.ts';
import type { Transport } from '../transport/transport.ts';

/**
 * Fetches what `options.outputs` names. A file of the same size and time as the one there is not fetched again; links
 * and what is no file are left out, and said so.
 *
 * @param source job folder at the target
 * @param folder where to; made when it is not there
 * @returns paths below `folder`
 * @throws ApppotError `not-found` when the job folder is gone, `no-space`; what the transport throws
 */
export async function fetchFolder(
  transport: Pick<Transport, 'name' | 'list' | 'get'>,
  source: string,
  folder: string,
  options: FetchOptions,
): Promise<readonly string[]> {
  const { signal, progress } = options;
  const listed = await transport.list(source, signal);
  if (listed === undefined)
    throw new ApppotError('not-found', `There is no folder ${source} at ${transport.name} any more.`);
  const unsafe = listed.filter(({ path }) => !isSafeName(path));
  if (unsafe.length > 0)
    progress.note(
      `not fetched, because of their names: ${unsafe
        .map(({ path }) => JSON.stringify(path))
        .slice(0, 5)
        .join(', ')}${unsafe.length > 5 ? ', …' : ''}`,
    );
  const wanted = isOutput(options.outputs);
  const chosen = listed.filter(({ path }) => wanted(path));
  const left = chosen.filter(({ type }) => type === 'link' || type === 'other');
  if (left.length > 0)
    progress.note(
      `not fetched, because they are no files: ${left
        .map(({ path }) => path)
        .slice(0, 5)
        .join(', ')}${left.length > 5 ? ', …' : ''}`,
    );
  const fetched: string[] = [];
  await mkdir(folder, { recursive: true });
  for (const { path, type, size, mtime } of chosen) {
    signal.throwIfAborted();
    const target = join(folder, path);
    if (type === 'folder') await makeFolders(folder, path);
    if (type !== 'file') continue;
    await makeFolders(folder, dirname(path));
    const here = await lstat(target).catch(() => undefined);
    if (here?.isFile() !== true || here.size !== size || Math.floor(here.mtimeMs / 1000) !== mtime) {
      await transport.get(`${source}/${path}`, target, { signal });
      await utimes(target, mtime, mtime);
    }
    fetched.push(path);
  }
  return fetched;
}
