import test from 'ava';
import { mkdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { guestParts, newFolder, readOutcome } from '../helpers/guest.ts';

test('the batch script for Slurm runs a program in a guest, with the job’s memory', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = await newFolder(t);
  await mkdir(join(folder, 'apppot'));
  for (const name of ['linux', 'slirp', 'apppot-start']) {
    await symlink(join(parts.runtime, name), join(folder, 'apppot', name));
  }
  await symlink(parts.image, join(folder, 'apppot', 'apppot.img'));
  const env = { HOME: folder, SLURM_JOB_ID: '42', SLURM_MEM_PER_NODE: '800' };
  const words = [
    packageFile('templates', 'by-hand.sbatch'),
    'sh',
    '-c',
    'grep MemTotal /proc/meminfo; echo $SLURM_JOB_ID',
  ];
  const { stdout } = await run('sh', words, { cwd: folder, env });
  const [, kibibytes, job] = /MemTotal: +(\d+) kB\n(.*)\n/.exec(stdout) ?? [];
  t.is(job, '42');
  t.true(Number(kibibytes) > 600 * 1024 && Number(kibibytes) < 700 * 1024);
  t.is((await readOutcome(join(folder, 'apppot-42.json'))).origin, 'job');
});

test('the batch script names no option that sbatch does not know', async (t) => {
  const text = await readFile(packageFile('templates', 'by-hand.sbatch'), 'utf8');
  const options = [...text.matchAll(/^#SBATCH (--[a-z-]+)=/gm)].map((match) => match[1]);
  t.deepEqual(options.sort(), [
    ...['--cpus-per-task', '--export', '--job-name', '--mem', '--nodes', '--ntasks', '--signal', '--time'],
  ]);
});
