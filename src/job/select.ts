/** Which jobs, and which of their tasks, a person means. */
import { didYouMean } from '../config/nearest.ts';
import { ApppotError } from '../errors.ts';
import { formatIndices } from './array.ts';
import type { JournalJob } from './journal.ts';
import type { TaskState } from './record.ts';
import { JOB_STATES, type JobState } from './types.ts';

/** A job with those of its tasks that were chosen. */
export interface Chosen {
  readonly job: JournalJob;
  /** Positions. */
  readonly positions: readonly number[];
}

/** What narrows a choice down. */
export interface Filter {
  readonly target?: string | undefined;
  readonly states?: readonly string[] | undefined;
}

/**
 * Chooses by identifier (its first four digits or more), `ID_INDEX` for one task of an array, or name.
 *
 * @param words none means all
 * @throws ApppotError `not-found` for a word that fits nothing, `usage` for one that fits several identifiers
 */
export function selectJobs(
  jobs: readonly JournalJob[],
  words: readonly string[],
  filter: Filter,
): readonly Chosen[] {
  const states = (filter.states ?? []).map(checkState);
  const chosen = new Map<JournalJob, Set<number>>();
  const add = (job: JournalJob, positions: readonly number[]): void => {
    const set = chosen.get(job) ?? new Set();
    for (const position of positions) set.add(position);
    chosen.set(job, set);
  };
  if (words.length === 0) for (const job of jobs) add(job, allOf(job));
  for (const word of words) for (const { job, positions } of find(jobs, word)) add(job, positions);
  return [...chosen].flatMap(([job, set]) => {
    if (filter.target !== undefined && job.record.target !== filter.target) return [];
    const positions = [...set]
      .sort((one, other) => one - other)
      .filter((position) => {
        const state = job.tasks[position]?.status.state;
        return states.length === 0 || (state !== undefined && states.includes(state));
      });
    return positions.length === 0 ? [] : [{ job, positions }];
  });
}

/** The tasks of a choice. */
export function tasksOf({ job, positions }: Chosen): readonly TaskState[] {
  return positions.flatMap((position) => job.tasks[position] ?? []);
}

function find(jobs: readonly JournalJob[], word: string): readonly Chosen[] {
  const [, id = '', index] = /^(?:apppot-)?([0-9a-f]{4,16})(?:_(\d+))?$/.exec(word) ?? [];
  if (id !== '') {
    const fits = jobs.filter(({ record }) => record.id.startsWith(`apppot-${id}`));
    const [job, ...others] = fits;
    if (others.length > 0)
      throw new ApppotError('usage', `Several jobs begin with ${id}.`, {
        hint: fits.map(({ record }) => record.id).join(', '),
      });
    if (job !== undefined) {
      if (index === undefined) return [{ job, positions: allOf(job) }];
      const position = job.record.tasks.findIndex((task) => (task.index ?? 0) === Number(index));
      if (position >= 0) return [{ job, positions: [position] }];
      throw new ApppotError('not-found', `Job ${job.shortId} has no task ${index}.`);
    }
  }
  const named = jobs.filter(({ record }) => record.description.name === word);
  if (named.length > 0) return named.map((job) => ({ job, positions: allOf(job) }));
  const [, name = '', task = ''] = /^(.+)_(\d+)$/.exec(word) ?? [];
  const oneTask = jobs.flatMap((job): Chosen[] => {
    const position = job.record.tasks.findIndex(({ index }) => index === Number(task));
    return job.record.description.name === name && position >= 0 ? [{ job, positions: [position] }] : [];
  });
  if (oneTask.length > 0) return oneTask;
  throw new ApppotError('not-found', `There is no job "${word}".`, {
    hint: '"apppot jobs list" shows identifiers and names.',
  });
}

function allOf(job: JournalJob): readonly number[] {
  return job.record.tasks.map((_task, position) => position);
}

function checkState(text: string): JobState {
  const state = JOB_STATES.find((one) => one === text);
  if (state !== undefined) return state;
  throw new ApppotError('usage', `There is no state "${text}".`, {
    hint: `${didYouMean(text, JOB_STATES)}States: ${JOB_STATES.join(', ')}.`,
  });
}

/** Several tasks in few words: `3f2a91c0_[1-100]`. */
export function taskNames(job: JournalJob, positions: readonly number[]): string {
  const indices = positions.flatMap((position) => job.record.tasks[position]?.index ?? []);
  if (indices.length < 2) return positions.map((position) => taskName(job, position)).join(', ');
  return `${job.shortId}_[${formatIndices([...indices].sort((one, other) => one - other))}]`;
}

/** What people call a task: the job's short identifier, with the index in an array. */
export function taskName(job: JournalJob, position: number): string {
  const index = job.record.tasks[position]?.index;
  return index === undefined ? job.shortId : `${job.shortId}_${index}`;
}
