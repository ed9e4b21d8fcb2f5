/** What sbatch gets: a script from templates/job.sbatch, and its command line. */
import { readFile } from 'node:fs/promises';
import { packageFile } from '../../config/paths.ts';
import { ApppotError } from '../../errors.ts';
import { formatIndices } from '../../job/array.ts';
import { timePlan } from '../../job/sandbox.ts';
import type { RemoteJob, Submission } from '../../job/types.ts';
import { formatTime } from '../../job/units.ts';
import { shellQuote } from '../../process/quote.ts';

/** What a target says about its batch system. */
export interface SlurmOptions {
  readonly partition?: string | undefined;
  readonly account?: string | undefined;
  /** Further words for sbatch. */
  readonly options?: readonly string[] | undefined;
  /** Tasks at once, where the submission does not say. */
  readonly parallel?: number | undefined;
  /** Memory to ask for: the guest's, times factor (1.05), plus overhead (128 MiB). */
  readonly memoryFactor?: number | undefined;
  readonly memoryOverhead?: number | undefined;
}

/** A part of an array that one sbatch can take: indices are those of the tasks, less `shift`. */
export interface Chunk {
  readonly shift: number;
  readonly indices: readonly number[];
}

/** Most that Slurm takes as an index, unless it is configured otherwise, plus one. */
export const DEFAULT_MAX_ARRAY = 1001;

/**
 * Cuts the indices of an array into parts that fit the batch system.
 *
 * @param maxArray MaxArraySize of slurm.conf(5): indices are below it
 */
export function chunksOf(indices: readonly number[], maxArray: number): readonly Chunk[] {
  const chunks: { shift: number; indices: number[] }[] = [];
  for (const index of [...indices].sort((one, other) => one - other)) {
    const last = chunks.at(-1);
    if (last !== undefined && index - last.shift < maxArray) last.indices.push(index);
    else chunks.push({ shift: index < maxArray ? 0 : index, indices: [index] });
  }
  return chunks;
}

/** Memory that the batch system is asked for, MiB. */
export function batchMemory(guest: number, options: SlurmOptions): number {
  return Math.ceil(guest * (options.memoryFactor ?? 1.05) + (options.memoryOverhead ?? 128));
}

/**
 * The batch script.
 *
 * @param sandbox folder at the target
 */
export async function batchScript(
  submission: Submission,
  sandbox: string,
  options: SlurmOptions,
): Promise<string> {
  const { cpus, memory, time } = submission.description;
  const { reserve } = timePlan(time, true);
  const limit =
    time === undefined
      ? '# No time limit was asked for: the partition has one.'
      : `#SBATCH --time=${formatTime(Math.ceil(time / 60) * 60)}\n#SBATCH --signal=B:TERM@${Math.max(5, Math.floor(reserve / 2))}`;
  const values: Readonly<Record<string, string>> = {
    CPUS: String(cpus),
    MEMORY: String(batchMemory(memory, options)),
    LIMIT: limit,
    SANDBOX: shellQuote(sandbox),
  };
  const template = await readFile(packageFile('templates', 'job.sbatch'), 'utf8');
  return template.replace(/@([A-Z]+)@/g, (whole, name: string) => values[name] ?? whole);
}

/**
 * Words for sbatch, without the program itself. Free text is in the form `--name=value`, of one word each.
 *
 * @param script name of the batch script, relative to the sandbox
 */
export function sbatchWords(
  submission: Submission,
  chunk: Chunk,
  script: string,
  options: SlurmOptions,
): readonly string[] {
  const { description, tasks, after, id } = submission;
  const partition = description.partition ?? options.partition;
  const account = description.account ?? options.account;
  const parallel = submission.parallel ?? options.parallel;
  const isArray = tasks[0]?.index !== undefined;
  const range = formatIndices(chunk.indices.map((index) => index - chunk.shift));
  return [
    '--parsable',
    `--job-name=${description.name}`,
    `--comment=${id}${chunk.shift === 0 ? '' : `+${chunk.shift}`}`,
    '--no-requeue',
    '--export=NONE',
    ...(partition === undefined ? [] : [`--partition=${partition}`]),
    ...(account === undefined ? [] : [`--account=${account}`]),
    ...(isArray ? [`--array=${range}${parallel === undefined ? '' : `%${parallel}`}`] : []),
    ...(after.length === 0 ? [] : [`--dependency=${dependency(after)}`, '--kill-on-invalid-dep=yes']),
    ...(options.options ?? []),
    script,
    ...(chunk.shift === 0 ? [] : [String(chunk.shift)]),
  ];
}

function dependency(after: readonly { readonly when: 'ok' | 'any'; readonly job: RemoteJob }[]): string {
  const part = (when: 'ok' | 'any'): string[] => {
    const ids = after.filter((one) => one.when === when).map(({ job }) => job.native);
    for (const id of ids)
      if (!/^\d+(?:_\d+)?$/.test(id)) throw new ApppotError('target', `"${id}" is no job of Slurm.`);
    // Slurm's own limit of a command line; a part of a big array stands for all of it.
    const named = ids.length > 200 ? [...new Set(ids.map((id) => id.replace(/_.*/, '')))] : ids;
    return named.length === 0 ? [] : [`after${when}:${named.join(':')}`];
  };
  return [...part('ok'), ...part('any')].join(',');
}
