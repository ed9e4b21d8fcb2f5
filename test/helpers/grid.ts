import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { requireOrSkip } from './require.ts';

/** lab.json of test/grid-lab/lab.sh: a real A-REX, Slurm, sshd and web server on the loopback. */
export interface GridLab {
  readonly folder: string;
  readonly arc: {
    readonly endpoint: string;
    readonly queue: string;
    readonly caDir: string;
    readonly subject: string;
    readonly conf: string;
    readonly controlDir: string;
    readonly cacheDir: string;
    readonly sessionDir: string;
    readonly rteDir: string;
  };
  readonly slurm: { readonly conf: string; readonly partition: string };
  readonly ssh: {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly hostKey: string;
  };
  readonly web: { readonly root: string; readonly url: string; readonly log: string };
  /** Per account: a folder with cert.pem, key.pem, proxy.pem, id (for ssh), known_hosts and ssh_config. */
  readonly clients: { readonly root: string; readonly apptest: string };
}

/** The lab that APPPOT_TEST_GRID names (npm run grid-lab -- up), or undefined when the test is to be skipped. */
export function gridLab(t: ExecutionContext): GridLab | undefined {
  const file = process.env['APPPOT_TEST_GRID'] ?? '';
  if (!requireOrSkip(t, file !== '' && existsSync(file), 'the grid lab is not up: npm run grid-lab -- up'))
    return undefined;
  return JSON.parse(readFileSync(file, 'utf8')) as GridLab;
}

/**
 * Stops or starts a part of the lab: arex, slurmctld, slurmd, munged, sshd, web. Other tests run meanwhile: only for
 * tests of test/grid that are serial in their file, and with the part up again in the end.
 */
export async function labPart(action: 'stop' | 'start', part: string): Promise<void> {
  await promisify(execFile)('bash', [path.join('test', 'grid-lab', 'lab.sh'), action, part]);
}
