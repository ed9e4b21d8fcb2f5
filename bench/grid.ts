/** Rows about jobs: what submitting, following and fetching costs beside the jobs themselves, at a real grid lab. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { arcByHand, slurmByHand, type ByHand } from './grid-hand.ts';
import { atSite, type Site } from './grid-site.ts';
import { start } from './processes.ts';
import { ROWS } from './rows.ts';
import { add, type Measurements } from './table.ts';

/** Seconds that the program runs, which are no overhead. */
const RUN = 1;
const PROGRAM = ['sh', '-c', `cat input.dat >result.dat; sleep ${RUN}`];
const WORDS = ['--stage-in', 'input.dat', '--stage-out', 'result.dat', '-t', '5', '--', ...PROGRAM];
const MANY = 1000;
/** Questions about all of them. */
const POLLS = 5;

/**
 * Measures all rows of this kind that are wanted.
 *
 * @param image asked for only when there are some
 */
export async function measureGrid(
  wanted: ReadonlySet<string>,
  rounds: number,
  image: () => Promise<string>,
  all: Measurements,
): Promise<void> {
  const rows = ROWS.filter(({ kind, name }) => kind === 'grid' && wanted.has(name)).map(({ name }) => name);
  if (rows.length === 0) return;
  await atSite(await image(), async (site) => {
    if (rows.includes('grid-arc')) {
      const byHand = await arcByHand(site, WORDS);
      await measureOne(site, 'arc', byHand, rounds, all);
    }
    if (rows.includes('grid-slurm'))
      // How long Slurm itself thinks differs much: more samples.
      await measureOne(site, 'slurm', await slurmByHand(site, PROGRAM), rounds * 3, all);
    if (rows.some((name) => /^grid-(?:many|follow|memory)/.test(name))) await measureMany(site, rows, all);
  });
}

/** Submit to results fetched, by hand and with AppPot in turns. */
async function measureOne(
  site: Site,
  target: 'arc' | 'slurm',
  byHand: ByHand,
  rounds: number,
  all: Measurements,
): Promise<void> {
  const ours: ByHand = async () => {
    const { stdout } = await site.apppot('submit', '--to', target, '--fetch', '--json', ...WORDS);
    const { tasks } = JSON.parse(stdout) as { tasks: readonly { fetched?: string }[] };
    return tasks[0]?.fetched ?? '';
  };
  for (let round = 1; round <= rounds; round += 1) {
    console.error(`round ${round} of ${rounds}: one job, ${target}`);
    for (const [column, work] of [
      ['native', byHand],
      ['ours', ours],
    ] as const) {
      const started = performance.now();
      const folder = await work();
      add(all, `grid-${target}`, column, (performance.now() - started) / 1000 - RUN);
      const text = await readFile(join(folder, 'result.dat'), 'utf8');
      if (text !== 'the input\n')
        throw new Error(`${target}, ${column}: the result is ${JSON.stringify(text)}`);
      await rm(folder, { recursive: true });
    }
  }
}

/** A thousand jobs each, in a closed partition: they are handed in and followed, and none runs. */
async function measureMany(site: Site, rows: readonly string[], all: Measurements): Promise<void> {
  const partition = `PartitionName=${site.lab.slurm.partition}`;
  const peaks = [0];
  const peak = (): number => Math.max(...peaks);
  await start(['scontrol', 'update', partition, 'State=DOWN'], { env: site.env });
  for (const target of ['slurm', 'arc'] as const) {
    if (!rows.some((name) => name === 'grid-memory' || name.endsWith(`-${target}`))) continue;
    console.error(`${MANY} jobs, ${target}`);
    await site.probes();
    const submit = ['submit', '--to', target, '--array', `1-${MANY}`, '-t', '5', '--json'];
    const started = performance.now();
    const { stdout } = await site.apppot(...submit, '--stage-in', 'input.dat', '--', 'cat', 'input.dat');
    const seconds = (performance.now() - started) / 1000;
    const { id, tasks } = JSON.parse(stdout) as { id: string; tasks: readonly { remote?: string }[] };
    if (tasks.filter(({ remote }) => remote !== undefined).length !== MANY)
      throw new Error(`${target} did not take all of ${MANY} jobs`);
    peaks.push(...(await site.probes()).map(({ peakMiB }) => peakMiB));
    await site.questions();
    for (let poll = 0; poll < POLLS; poll += 1) await site.apppot('jobs', 'list', id);
    const probes = await site.probes();
    peaks.push(...probes.map(({ peakMiB }) => peakMiB));
    const requests = probes
      .flatMap((probe) => Object.values(probe.requests))
      .reduce((sum, one) => sum + one, 0);
    const asked = target === 'arc' ? requests : await site.questions();
    if (rows.includes(`grid-many-${target}`)) {
      add(all, `grid-many-${target}`, 'ours', seconds);
      add(all, `grid-many-${target}`, 'limit', target === 'arc' ? 60 : 10);
    }
    if (rows.includes(`grid-follow-${target}`)) {
      add(all, `grid-follow-${target}`, 'ours', asked / POLLS / (MANY / 100));
      add(all, `grid-follow-${target}`, 'limit', 1);
    }
  }
  if (!rows.includes('grid-memory')) return;
  add(all, 'grid-memory', 'ours', peak());
  add(all, 'grid-memory', 'limit', 250);
}
