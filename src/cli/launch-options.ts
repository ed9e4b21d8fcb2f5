import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { LAUNCH_OPTIONS } from '../machine/options.ts';
import { addOptions } from './add-options.ts';

/** Adds the options of a launch, which `run` and `shell` share. */
export function addLaunchOptions(command: CommandUnknownOpts): void {
  addOptions(command, LAUNCH_OPTIONS);
}

/** The command line as it was typed. */
export function rawWords(command: CommandUnknownOpts): readonly string[] {
  return (command.parent as unknown as { readonly rawArgs?: readonly string[] } | null)?.rawArgs ?? [];
}
