/** The tasks of a job: one, one for each index of an array, or one for each row of a sweep. */
import { isAbsolute, join } from 'node:path';
import { ApppotError } from '../errors.ts';
import { parseArray } from './array.ts';
import { readText } from './read-text.ts';
import { fillIn, parseSweep, type Row } from './sweep.ts';
import type { JobTask } from './types.ts';

/** Linux takes one argument of up to 128 KiB, and 2 MiB in all (execve(2)). */
const MAX_WORD = 128 * 1024 - 1;
const MAX_WORDS = 1024 * 1024;

/** What says how many tasks there are. */
export interface TaskChoice {
  readonly array: string | undefined;
  readonly sweep: string | undefined;
  /** What a relative path of the sweep is relative to. */
  readonly folder: string;
}

/**
 * Makes the tasks: `{column}` in the program's words and in variables is the value of the task's row.
 *
 * @throws ApppotError `usage`, `not-found`, `permission`
 */
export async function makeTasks(
  words: readonly [string, ...string[]],
  env: Readonly<Record<string, string>>,
  choice: TaskChoice,
): Promise<{ readonly tasks: readonly JobTask[]; readonly parallel?: number }> {
  const { rows, ...further } = await taskRows(choice);
  checkColumns(choice.sweep, rows, [...words, ...Object.values(env)]);
  const [first, ...rest] = words;
  const tasks = rows.map(({ index, row }): JobTask => ({
    ...(index === undefined ? {} : { index }),
    program: [fillIn(first, row), ...rest.map((word) => fillIn(word, row))],
    env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, fillIn(value, row)])),
  }));
  tasks.forEach(checkLength);
  return { tasks, ...further };
}

async function taskRows({
  array,
  sweep,
  folder,
}: TaskChoice): Promise<{ rows: readonly { index?: number; row: Row }[]; parallel?: number }> {
  if (sweep !== undefined) {
    // --array beside a sweep chooses rows.
    const file = isAbsolute(sweep) ? sweep : join(folder, sweep);
    const all = parseSweep(await readText(file, 'sweep'), sweep).map((row, at) => ({ index: at + 1, row }));
    if (array === undefined) return { rows: all };
    const { indices, parallel } = parseArray(array);
    const wanted = new Set(indices);
    const chosen = all.filter(({ index }) => wanted.has(index));
    if (chosen.length < indices.length)
      throw new ApppotError('usage', `${sweep} has ${all.length} rows, and --array asks for others.`);
    return { rows: chosen, ...(parallel === undefined ? {} : { parallel }) };
  }
  if (array === undefined) return { rows: [{ row: {} }] };
  const { indices, parallel } = parseArray(array);
  return {
    rows: indices.map((index) => ({ index, row: {} })),
    ...(parallel === undefined ? {} : { parallel }),
  };
}

/** A sweep that changes nothing is a mistake: a wrong separator, or a misspelt column. */
function checkColumns(
  sweep: string | undefined,
  rows: readonly { readonly row: Row }[],
  texts: readonly string[],
): void {
  const columns = Object.keys(rows[0]?.row ?? {});
  if (sweep === undefined || columns.some((name) => texts.some((text) => text.includes(`{${name}}`)))) return;
  const shown = columns.map((name) => `{${name}}`).join(', ');
  throw new ApppotError('usage', `The command names no column of ${sweep}: ${shown}.`, {
    hint: 'Columns are separated by commas; {column} in an argument or --env stands for its value.',
  });
}

function checkLength(task: JobTask): void {
  const words = [...task.program, ...Object.entries(task.env).map(([name, value]) => `${name}=${value}`)];
  const sizes = words.map((word) => Buffer.byteLength(word));
  if (words.some((word) => word.includes('\0')))
    throw new ApppotError('usage', 'An argument holds a NUL, which no program can be given.');
  if (Math.max(...sizes) > MAX_WORD || sizes.reduce((sum, size) => sum + size, 0) > MAX_WORDS)
    throw new ApppotError('usage', 'The arguments are longer than Linux can give to a program.', {
      hint: 'Put them into a file, and send it with --stage-in.',
    });
}
