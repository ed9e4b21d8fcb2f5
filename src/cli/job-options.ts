import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { JOB_OPTIONS } from '../job/options.ts';
import { addOptions } from './add-options.ts';

/** Adds the options of a job. */
export function addJobOptions(command: CommandUnknownOpts): void {
  addOptions(command, JOB_OPTIONS);
}

/** What was given on the command line, by option name. */
export function givenValues(
  given: Readonly<Record<string, unknown>>,
): ReadonlyMap<string, readonly string[]> {
  const values = new Map<string, readonly string[]>();
  for (const { name } of JOB_OPTIONS) {
    const key = name.replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase());
    const value = given[key];
    if (typeof value === 'string') values.set(name, [value]);
    else if (Array.isArray(value)) values.set(name, value.map(String));
  }
  return values;
}
