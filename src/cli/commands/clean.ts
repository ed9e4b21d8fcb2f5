import { Command } from '@commander-js/extra-typings';
import { ApppotError } from '../../errors.ts';
import type { DefineCommand } from '../context.ts';

const HELP = `
A launch that failed, or was killed, leaves its run folder with the console log. Folders
of running guests are never touched; on a file system that other machines share, give
--older-than more than your longest job takes.

Examples:
  $ apppot clean
  $ apppot clean --older-than 86400 /scratch/me`;

/** `apppot clean`: removes run folders that were left behind. */
export const cleanCommand: DefineCommand = (context) =>
  new Command('clean')
    .description('remove the run folders of guests that are gone')
    .argument('[folder]', 'the job folder', '.')
    .option('--older-than <seconds>', 'only those that have not changed for so long', '60')
    .option('--dry-run', 'say what would be removed')
    .addHelpText('after', HELP)
    .action(async (folder, { olderThan, dryRun }) => {
      if (!/^\d{1,9}$/.test(olderThan)) {
        throw new ApppotError('usage', `--older-than takes seconds, not "${olderThan}".`);
      }
      const { findLeftFolders, removeLeftFolders } = await import('../../machine/clean.ts');
      const left = await findLeftFolders(folder, Number(olderThan));
      if (dryRun !== true) await removeLeftFolders(folder, left);
      const verb = dryRun === true ? 'would remove' : 'removed';
      context.display().result(left, left.map((one) => `${verb} ${one.folder}`).join('\n'));
    });
