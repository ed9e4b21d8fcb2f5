/** Driver `unshare`: name spaces of the host. As root without a user name space, as anyone else with one. */
import { join } from 'node:path';
import { ApppotError } from '../../errors.ts';
import { run } from '../../process/run.ts';
import { removeFolder } from '../scratch.ts';
import type { Driver, Plan } from './driver.ts';
import { writeSteps } from './steps.ts';

/** Options of unshare(1): all processes of the build die with the one that it starts. */
const SPACES = ['--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc'];
const USER_SPACE = ['--user', '--map-auto', '--map-root-user'];

/** The driver. As anyone but root it needs user name spaces and a range of subordinate ids (subuid(5)). */
export const unshareDriver: Driver = {
  name: 'unshare',
  reasonAgainst,
  build,
  remove,
};

function spaces(): readonly string[] {
  return process.getuid?.() === 0 ? SPACES : [...USER_SPACE, ...SPACES];
}

async function reasonAgainst(): Promise<string | undefined> {
  try {
    // First without ids: where name spaces are refused, unshare of util-linux 2.38 leaves the child behind that was to
    // set them, and that child keeps our pipes open for ever.
    if (process.getuid?.() !== 0) await run('unshare', ['--user', 'true']);
    // A second id must be there: files of the image belong to many.
    await run('unshare', [
      ...spaces(),
      'sh',
      '-c',
      'test "$(sed -n "\\$=" /proc/self/uid_map)" -gt 0 && chroot / true',
    ]);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApppotError)) throw error;
    const line = error.message.trim().split('\n').at(-1) ?? '';
    return line.replace(/^unshare ended.*:$/, 'unshare(1) failed').replace(/\.$/, '');
  }
}

async function build(plan: Plan): Promise<void> {
  const steps = await writeSteps(plan, { driver: 'unshare', host: '/', writable: (path) => path });
  const script = join(plan.scratch, 'lib', 'run-modules');
  await run('unshare', [...spaces(), 'sh', script, steps, plan.statusFile], {
    cwd: plan.scratch,
    env: { TMPDIR: '/tmp' },
    logFile: plan.logFile,
    signal: plan.signal,
  });
}

async function remove(folder: string): Promise<void> {
  if (process.getuid?.() === 0) await removeFolder(folder);
  else await run('unshare', [...USER_SPACE, 'rm', '-rf', '--', folder]);
}
