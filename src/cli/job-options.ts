import { Option, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { JOB_OPTIONS } from '../job/options.ts';

/** Adds the options of a job. */
export function addJobOptions(command: CommandUnknownOpts): void {
  for (const { flags, description, repeat } of JOB_OPTIONS) {
    if (flags === undefined) continue;
    const option = new Option(flags, description);
    if (repeat === true)
      option.argParser((value: string, all?: unknown) => [...((all as string[] | undefined) ?? []), value]);
    command.addOption(option);
  }
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
