import { Command } from '@commander-js/extra-typings';
import { addLaunchOptions, rawWords } from '../launch-options.ts';
import type { DefineCommand } from '../context.ts';

const HELP = `
The program runs in the current folder, which the guest sees as /home/user/job. Its
output, exit code and signals are its own. What it changes elsewhere in the image is
gone afterwards, unless --overlay or --writable says otherwise.

Examples:
  $ apppot run ./my-program input.dat
  $ apppot run --image other.img -m 4G -- python3 fit.py --fast
  $ apppot run other.img -- make test
  $ apppot run --changes tools.changes.tar.gz ./solve
  $ apppot run -t 30 --env OMP_NUM_THREADS=1 ./solve < matrix.sms > result.txt

Exit codes:
  the program's own; 124 time limit; 125 AppPot itself failed (one sentence and a hint
  say why); 126 the program cannot be run, 127 it is not there; 128+N ended by signal N`;

/** `apppot run`: one program in a guest. */
export const runCommand: DefineCommand = (context) => {
  const command = new Command('run')
    .description('run a program in a guest')
    .argument(
      '[words...]',
      'the program and its arguments; IMAGE -- PROGRAM [ARGUMENT...] names the image too',
    )
    .passThroughOptions()
    .addHelpText('after', HELP);
  addLaunchOptions(command);
  return command.action(async (words, options) => {
    const { startGuest } = await import('../launch-guest.ts');
    context.exitWith(await startGuest(context, splitImage(rawWords(command), words), options));
  });
};

/** `apppot run IMAGE -- PROGRAM`, told apart from `apppot run -- PROGRAM -- WORD`. */
function splitImage(
  raw: readonly string[],
  words: readonly string[],
): { image?: string; program: readonly string[] } {
  const before = raw.at(-words.length - 1);
  const [image, dashes, ...rest] = words;
  if (image !== undefined && dashes === '--' && rest.length > 0 && before !== '--') {
    return { image, program: rest };
  }
  return { program: words };
}
