/** The same jobs without AppPot's client: ARC's and Slurm's own programs, as a patient person's script would call them. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { start } from './processes.ts';
import type { Site } from './grid-site.ts';

/** One job; returns the folder with its results. */
export type ByHand = () => Promise<string>;

/** Milliseconds between two questions. */
const PATIENCE = 1000;

/** arcsub, arcstat, arcget with the sandbox and the description that AppPot would send. */
export async function arcByHand(site: Site, words: readonly string[]): Promise<ByHand> {
  const { stdout } = await site.apppot(
    'submit',
    '--to',
    'arc',
    '--dry-run',
    '--format',
    'xrsl',
    '--json',
    ...words,
  );
  const { files } = JSON.parse(stdout) as { files: Record<string, string> };
  const folder = await mkdtemp(join(site.folder, 'by-hand-'));
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  const tool = (...tool: string[]) => start(tool, { cwd: folder, env: site.env });
  return async () => {
    const to = ['-T', 'arcrest', '-C', site.lab.arc.endpoint, '-Q', 'NONE'];
    const job = /jobid: (\S+)/.exec((await tool('arcsub', ...to, 'job.xrsl')).stdout)?.[1] ?? '';
    for (;;) {
      // A job that was just handed in is not known to arcstat for a moment.
      const answer = await start(['arcstat', job], { cwd: folder, env: site.env, okCodes: [0, 1] });
      if (/State: Finished/.test(answer.stdout)) break;
      if (/State: Failed/.test(answer.stdout)) throw new Error(`by hand: ${answer.stdout}`);
      await sleep(PATIENCE);
    }
    const results = join(folder, 'results');
    await rm(results, { recursive: true, force: true });
    await tool('arcget', '--keep', '--dir', results, job);
    const [name = ''] = await readdir(results);
    return join(results, name);
  };
}

/** As AppPot asks for a job: with --export=NONE the node makes a login environment, which takes a second. */
const SBATCH = ['--mem=700', '--time=5', '--no-requeue', '--export=NONE', '--signal=B:TERM@5'];

/** sbatch, squeue, cp: a script that starts the guest from the site's folders, with the input beside it. */
export async function slurmByHand(site: Site, program: readonly string[]): Promise<ByHand> {
  const guest = [
    join(site.runtime, 'apppot-start'),
    '--image',
    site.image,
    '--mem',
    '512M',
    '--job-folder',
    '.',
  ];
  const quoted = [...guest, '--', ...program].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  const script = join(site.folder, 'by-hand.sbatch');
  await writeFile(script, `#!/bin/sh\nexec ${quoted.join(' ')}\n`);
  return async () => {
    const folder = await mkdtemp(join(site.folder, 'by-hand-'));
    const tool = (...words: string[]) => start(words, { cwd: folder, env: site.env });
    await tool('cp', join(site.folder, 'input.dat'), folder);
    const job = (await tool('sbatch', '--parsable', ...SBATCH, script)).stdout.trim();
    while ((await tool('squeue', '--noheader', '--jobs', job)).stdout.trim() !== '') await sleep(PATIENCE);
    const results = await mkdtemp(join(site.folder, 'results-'));
    await tool('cp', join(folder, 'result.dat'), results);
    return results;
  };
}
