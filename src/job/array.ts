/** Arrays of jobs, as sbatch(1) writes them: `1-100`, `0-15:4`, `1,3,5-7`, each with `%10` at the end. */
import { ApppotError } from '../errors.ts';

/** Indices, ascending and each once, and how many tasks may run at the same time. */
export interface ArrayRange {
  readonly indices: readonly number[];
  readonly parallel?: number;
}

/** More than this in one job is refused: the journal and the sites are not made for it. */
export const MAX_TASKS = 100_000;

/**
 * Reads an array range.
 *
 * @throws ApppotError `usage`
 */
export function parseArray(text: string): ArrayRange {
  const [list = '', parallel, ...more] = text.split('%');
  if (more.length > 0 || (parallel !== undefined && !/^[1-9]\d{0,5}$/.test(parallel))) throw wrong(text);
  const indices = new Set<number>();
  for (const part of list.split(',')) {
    const match = /^(\d{1,9})(?:-(\d{1,9})(?::([1-9]\d{0,8}))?)?$/.exec(part);
    if (match === null) throw wrong(text);
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    const step = Number(match[3] ?? 1);
    if (last < first) throw wrong(text);
    if ((last - first) / step >= MAX_TASKS) throw tooMany();
    for (let index = first; index <= last; index += step) indices.add(index);
    if (indices.size > MAX_TASKS) throw tooMany();
  }
  return {
    indices: [...indices].sort((one, other) => one - other),
    ...(parallel === undefined ? {} : { parallel: Number(parallel) }),
  };
}

/** Indices as short as sbatch takes them: consecutive ones as `1-5`. */
export function formatIndices(indices: readonly number[]): string {
  const parts: string[] = [];
  for (let at = 0; at < indices.length;) {
    let end = at;
    while (indices[end + 1] === (indices[end] ?? 0) + 1) end += 1;
    parts.push(end === at ? String(indices[at]) : `${indices[at] ?? ''}-${indices[end] ?? ''}`);
    at = end + 1;
  }
  return parts.join(',');
}

function wrong(text: string): ApppotError {
  return new ApppotError('usage', `"${text}" is no array of jobs.`, {
    hint: 'Such as 1-100, 0-15:4 or 1,3,5-7; %10 at the end lets ten run at once.',
  });
}

function tooMany(): ApppotError {
  return new ApppotError('usage', `An array has at most ${MAX_TASKS} tasks.`);
}
