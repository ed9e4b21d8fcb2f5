import { Command } from '@commander-js/extra-typings';
import { loadSettings } from '../../config/load.ts';
import { addLaunchOptions } from '../launch-options.ts';
import type { DefineCommand } from '../context.ts';

const HELP = `
The shell runs in screen, as you, with root by sudo; "exit" switches the guest off.
Changes are kept in a session, and the next shell goes on from there. The image itself
is not touched, so many people can use one.

Examples:
  $ apppot shell
  $ apppot shell --session fitting other.img
  $ apppot shell --changes tools.changes.tar.gz
  $ apppot shell --rm              try something, keep nothing
  $ apppot shell --writable        change the image itself

Exit codes: as for "apppot run".`;

/** `apppot shell`: an interactive guest whose changes are kept. */
export const shellCommand: DefineCommand = (context) => {
  const command = new Command('shell')
    .description('open a shell in a guest')
    .argument('[image]', 'the image; by default as for "apppot run"')
    .option('--session <name>', 'keep changes under this name; by default one for each image')
    .option('--rm', 'discard the changes')
    .addHelpText('after', HELP);
  addLaunchOptions(command);
  return command.action(async (argument, given) => {
    const { startGuest } = await import('../launch-guest.ts');
    const options = given as Readonly<Record<string, unknown>>;
    const image =
      argument ?? (options['image'] as string | undefined) ?? loadSettings().image?.value ?? 'apppot.img';
    const words = ['--shell'];
    const keepsItself =
      options['writable'] === true || options['overlay'] !== undefined || /[:,]/.test(image);
    const session = given.rm === true || keepsItself ? undefined : { name: given.session };
    context.exitWith(
      await startGuest(context, { image, program: [], words, session }, { ...options, image }),
    );
  });
};
