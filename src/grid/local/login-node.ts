/** Login nodes are for everybody: long or wide jobs belong into the queue. */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ApppotError } from '../../errors.ts';
import type { Submission } from '../../job/types.ts';

/** What is fine on a login node: a try. */
const FINE = { cpus: 4, memory: 8192, minutes: 30 };

/**
 * Refuses a submission that a cluster's login node is not for.
 *
 * @param parallel tasks at once
 * @throws ApppotError `target`
 */
export function refuseHeavyUse(
  { description, tasks }: Submission,
  parallel: number,
  environment: NodeJS.ProcessEnv = process.env,
): void {
  const atOnce = Math.min(parallel, tasks.length);
  const heavy =
    description.cpus * atOnce > FINE.cpus ||
    description.memory * atOnce > FINE.memory ||
    (description.time ?? 0) > FINE.minutes * 60;
  if (!heavy || !isLoginNode(environment)) return;
  throw new ApppotError('target', 'This looks like a login node of a cluster, and the job is not small.', {
    hint: 'Send it to the batch system with --to, or set login_node = allow in the section [target local].',
  });
}

/** A machine that knows a cluster, and is not inside one of its jobs. */
function isLoginNode(environment: NodeJS.ProcessEnv): boolean {
  if (environment['SLURM_JOB_ID'] !== undefined) return false;
  const folders = (environment['PATH'] ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  const configured = existsSync('/etc/slurm/slurm.conf') || environment['SLURM_CONF'] !== undefined;
  return configured && folders.some((folder) => existsSync(join(folder, 'sbatch')));
}
