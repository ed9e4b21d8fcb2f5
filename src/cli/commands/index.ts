import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { CommandContext } from '../context.ts';
import { buildImageCommand } from './build-image.ts';
import { resizeCommand } from './resize.ts';

/** Makes one command. Must be cheap: libraries are imported inside the action. */
export type DefineCommand = (context: CommandContext) => CommandUnknownOpts;

/** All commands, in the order of the help text. */
export const COMMANDS: readonly DefineCommand[] = [buildImageCommand, resizeCommand];
