import tab from '@bomb.sh/tab/commander';
import type { CommandUnknownOpts } from '@commander-js/extra-typings';

/** Adds `apppot complete bash|zsh|fish|powershell`, which prints the completion script of that shell. */
export function addCompletion(program: CommandUnknownOpts): void {
  tab(program as never);
}
