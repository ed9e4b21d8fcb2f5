import { Command } from '@commander-js/extra-typings';
import { humanBytes, table } from '../table.ts';
import type { DefineCommand } from '../context.ts';

/** `apppot sessions list|rm`. */
export const sessionsCommand: DefineCommand = (context) => {
  const command = new Command('sessions').description('the kept changes of shells');
  command
    .command('list')
    .description('list the sessions')
    .action(async () => {
      const { listSessions } = await import('../../machine/sessions.ts');
      const sessions = await listSessions();
      const rows = sessions.map(({ name, bytes, changed, image }) => [
        name,
        humanBytes(bytes),
        changed.slice(0, 19),
        image,
      ]);
      context
        .display()
        .result(sessions, sessions.length === 0 ? '' : table(['NAME', 'SIZE', 'CHANGED', 'IMAGE'], rows));
    });
  command
    .command('rm')
    .description('remove sessions, with their changes')
    .argument('<name...>')
    .option('--dry-run', 'say what would be removed')
    .action(async (names, { dryRun }) => {
      const { listSessions, removeSession } = await import('../../machine/sessions.ts');
      if (dryRun === true) {
        const known = new Set((await listSessions()).map(({ name }) => name));
        const found = names.filter((name) => known.has(name));
        context
          .display()
          .result({ wouldRemove: found }, found.map((name) => `would remove ${name}`).join('\n'));
        return;
      }
      for (const name of names) await removeSession(name);
      context.display().result({ removed: names }, '');
    });
  return command;
};
