import { Option, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { LAUNCH_OPTIONS } from '../machine/options.ts';

/** Adds the options of a launch, which `run` and `shell` share. */
export function addLaunchOptions(command: CommandUnknownOpts): void {
  for (const { flags, description, repeat } of LAUNCH_OPTIONS) {
    const option = new Option(flags, description);
    if (repeat === true)
      option.argParser((value: string, all?: unknown) => [...((all as string[] | undefined) ?? []), value]);
    command.addOption(option);
  }
}

/** The command line as it was typed. */
export function rawWords(command: CommandUnknownOpts): readonly string[] {
  return (command.parent as unknown as { readonly rawArgs?: readonly string[] } | null)?.rawArgs ?? [];
}
