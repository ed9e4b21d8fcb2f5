import { Command } from '@commander-js/extra-typings';
import { humanBytes, table } from '../table.ts';
import type { CommandContext, DefineCommand } from '../context.ts';

const HELP = `
Targets are sections of apppot.ini; "local" is always there. An example:

  [target vega]
  type = slurm
  ssh = me@login.vega.example
  partition = cpu

Examples:
  $ apppot targets list
  $ apppot targets check vega
  $ apppot targets stage vega --image apppot.img
  $ apppot submit --to vega -- ./my-program`;

const CHECK_HELP = `
Everything is tried for real: the connection and the login, the batch system, the folder for
jobs, and what the settings say is there.

Examples:
  $ apppot targets check vega

Exit codes: 0 all is well, 1 something is not.`;

const STAGE_HELP = `
Puts the runtime, and with --image an image, where jobs of the target find them, so that no
job brings them along: over ssh into the target's folder; for ARC by PUT into the web space
that base_url names, or else it says what to copy where. Names carry a digest of the content;
what is there is not sent again, and what was sent is read back and compared.

Examples:
  $ apppot targets stage vega --image apppot.img
  $ apppot targets stage vega --image apppot.img --dry-run

Exit codes: 0 all is there, 1 something has to be copied by hand.`;

/** `apppot targets list|check|stage`. */
export const targetsCommand: DefineCommand = (context) => {
  const command = new Command('targets').description('where jobs can go').addHelpText('after', HELP);
  command
    .command('list')
    .description('list the targets')
    .action(async () => {
      const { loadTargets } = await import('../../config/targets.ts');
      const { loadSettings } = await import('../../config/load.ts');
      const standard = loadSettings().target?.value;
      const targets = [...loadTargets().values()].map((target) => ({
        name: target.name,
        type: target.type,
        place:
          target.type === 'arc'
            ? (target.endpoint ?? '')
            : target.type === 'slurm'
              ? (target.ssh ?? 'here')
              : 'here',
        origin: target.origins.get('type') ?? '',
        default: target.name === standard,
      }));
      const rows = targets.map((one) => [
        `${one.name}${one.default ? ' *' : ''}`,
        one.type,
        one.place,
        one.origin,
      ]);
      context.display().result(targets, table(['NAME', 'TYPE', 'PLACE', 'SET IN'], rows));
    });
  command
    .command('check')
    .description('try a target for real, and say what is wrong')
    .argument('<name>')
    .addHelpText('after', CHECK_HELP)
    .action(async (name) => {
      const { loadTarget } = await import('../../config/targets.ts');
      const { checkTarget } = await import('../../grid/targets.ts');
      const lines = await checkTarget(loadTarget(name), openOptions(context), context.signal);
      const rows = lines.map(({ title, ok, detail }) => [ok ? 'ok' : 'WRONG', title, detail]);
      const hints = lines.flatMap(({ title, hint }) => (hint === undefined ? [] : [`${title}: ${hint}`]));
      context.display().result(lines, [table(['', 'WHAT', ''], rows), ...hints].join('\n'));
      if (lines.some(({ ok }) => !ok)) context.exitWith(1);
    });
  command
    .command('stage')
    .description('put runtime and image to the site')
    .argument('<name>')
    .option('--image <file>', 'this image as well')
    .option('--no-runtime', 'not the runtime')
    .option('--dry-run', 'say what would be put where')
    .addHelpText('after', STAGE_HELP)
    .action(async (name, { image, runtime, dryRun }) => {
      const { loadTarget } = await import('../../config/targets.ts');
      const { stage } = await import('../../grid/stage.ts');
      const result = await stage(
        loadTarget(name),
        { image, runtime, dryRun: dryRun === true },
        {
          ...openOptions(context),
          signal: context.signal,
        },
      );
      const lines = [
        ...result.staged.map(
          ({ item, place, sent }) =>
            `${dryRun === true ? 'would be at' : sent ? 'sent ' : 'there'} ${place} (${humanBytes(item.size)})`,
        ),
        ...result.toCopy.map(({ item, url, why }) => `copy ${item.source} to ${url} (${why})`),
        ...(result.settings.length === 0
          ? []
          : [`For the section [target ${name}]:`, ...result.settings.map((one) => `  ${one}`)]),
      ];
      context.display().result(result, lines.join('\n'));
      if (result.toCopy.length > 0 && dryRun !== true) context.exitWith(1);
    });
  return command;
};

/** What opening a target takes: progress, and somebody to ask when this is a terminal. */
export function openOptions(context: CommandContext) {
  const display = context.display();
  return { progress: display.progress(), ask: display.ask() };
}
