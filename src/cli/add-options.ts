import { Option, type CommandUnknownOpts } from '@commander-js/extra-typings';

/** What the tables of launches and jobs have in common. */
interface Declared {
  readonly flags?: string;
  readonly alias?: string;
  readonly description: string;
  readonly repeat?: true;
}

/** Adds the options of a table; those without flags are not for the command line. */
export function addOptions(command: CommandUnknownOpts, table: readonly Declared[]): void {
  for (const { flags, alias, description, repeat } of table) {
    if (flags === undefined) continue;
    const option = new Option(flags, description);
    if (repeat === true)
      option.argParser((value: string, all?: unknown) => [...((all as string[] | undefined) ?? []), value]);
    command.addOption(option);
    if (alias === undefined) continue;
    const other = new Option(alias, description).hideHelp();
    // The parser keeps values by this name: the last of both flags counts.
    other.attributeName = () => option.attributeName();
    command.addOption(other);
  }
}
