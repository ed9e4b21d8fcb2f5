import { Command } from '@commander-js/extra-typings';
import { ApppotError } from '../../errors.ts';
import { humanBytes, table } from '../table.ts';
import type { DefineCommand } from '../context.ts';

const HELP = `
Examples:
  $ apppot cache du
  $ apppot cache clean images sources
  $ apppot cache clean --dry-run`;

/** `apppot cache du|clean`. */
export const cacheCommand: DefineCommand = (context) => {
  const command = new Command('cache')
    .description('what AppPot keeps so as not to make it again')
    .addHelpText('after', HELP);
  command
    .command('du')
    .description('show how much it takes')
    .action(async () => {
      const { CACHE_KINDS, cacheUse } = await import('../../machine/cache.ts');
      const use = await cacheUse();
      const rows = use.map(({ kind, bytes }) => [kind, humanBytes(bytes), CACHE_KINDS[kind]]);
      context.display().result(use, table(['KIND', 'SIZE', 'WHAT'], rows));
    });
  command
    .command('clean')
    .description('remove it; guests that run are not disturbed')
    .argument('[kind...]', 'kinds, as "apppot cache du" lists them; all but the runtime by default')
    .option('--dry-run', 'say what would be removed')
    .action(async (words, { dryRun }) => {
      const { CACHE_KINDS, cacheUse, cleanCache } = await import('../../machine/cache.ts');
      const isKind = (word: string): word is keyof typeof CACHE_KINDS => Object.hasOwn(CACHE_KINDS, word);
      const unknown = words.find((word) => !isKind(word));
      if (unknown !== undefined) {
        throw new ApppotError('usage', `There is no kind "${unknown}" in the cache.`, {
          hint: `Kinds: ${Object.keys(CACHE_KINDS).join(', ')}.`,
        });
      }
      const asked = words.filter(isKind);
      const use = (await cacheUse()).filter(
        ({ kind, bytes }) => bytes > 0 && (asked.length === 0 ? kind !== 'runtime' : asked.includes(kind)),
      );
      if (dryRun !== true) await cleanCache(use.map(({ kind }) => kind));
      const verb = dryRun === true ? 'would remove' : 'removed';
      context
        .display()
        .result(use, use.map(({ kind, bytes }) => `${verb} ${kind}: ${humanBytes(bytes)}`).join('\n'));
    });
  return command;
};
