import type { SlurmTarget } from '../config/targets.ts';
import type { Transport } from './transport/transport.ts';

/** Where jobs go when the target names no folder. */
export const DEFAULT_FOLDER = '~/apppot-jobs';

/** Folder of jobs, images and runtimes at a site: the target's, or {@link DEFAULT_FOLDER}. */
export async function siteFolder(
  target: Pick<SlurmTarget, 'folder'>,
  transport: Transport,
  signal: AbortSignal,
): Promise<string> {
  const folder = target.folder ?? DEFAULT_FOLDER;
  const bare = folder.replace(/^site:/, '').replace(/(?<=.)\/+$/, '');
  return bare.startsWith('~/') ? `${await transport.home(signal)}${bare.slice(1)}` : bare;
}
