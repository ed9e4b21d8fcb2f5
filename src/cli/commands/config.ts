import { Command } from '@commander-js/extra-typings';
import { table } from '../table.ts';
import type { DefineCommand } from '../context.ts';

const HELP = `
Settings come from apppot.ini of the system (/etc/xdg/apppot/), of the user (~/.config/apppot/)
and of the project (the current folder), then from the environment; a later one wins, and
flags win over all. Secrets are never shown: settings only name files that hold them.

Examples:
  $ apppot config
  $ apppot config --origin
  $ apppot config --json`;

/** `apppot config`: every setting and target, as they hold here. */
export const configCommand: DefineCommand = (context) =>
  new Command('config')
    .description('list every setting, and where it comes from')
    .option('--origin', 'with the file and line, or the variable, of each')
    .addHelpText('after', HELP)
    .action(async ({ origin }) => {
      const { listSettings } = await import('../../config/list.ts');
      const settings = listSettings();
      const rows = settings.map((one) => [
        one.name,
        one.value ?? '-',
        ...(origin === true ? [one.origin ?? `(${one.variable ?? ''})`] : []),
      ]);
      const head = ['SETTING', 'VALUE', ...(origin === true ? ['ORIGIN'] : [])];
      context.display().result(settings, table(head, rows));
    });
