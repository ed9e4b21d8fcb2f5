import type { SlurmTarget } from '../config/targets.ts';
import type { Transport } from './transport/transport.ts';

/** Folder of jobs, images and runtimes at a site: the target's, or apppot-jobs in the home folder there. */
export async function siteFolder(
  target: Pick<SlurmTarget, 'folder'>,
  transport: Transport,
  signal: AbortSignal,
): Promise<string> {
  const folder = target.folder ?? '~/apppot-jobs';
  const bare = folder.replace(/^site:/, '').replace(/(?<=.)\/+$/, '');
  return bare.startsWith('~/') ? `${await transport.home(signal)}${bare.slice(1)}` : bare;
}
