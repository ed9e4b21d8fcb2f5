import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import type { DefineCommand } from '../context.ts';

const HELP = `
Jobs are named by identifier (its first digits), ID_INDEX for one task of an array, or name.
ARC's words are known too: status, get, kill, cat.

Examples:
  $ apppot jobs list --watch
  $ apppot jobs wait 3f2a && apppot jobs fetch 3f2a
  $ apppot jobs logs -f 3f2a_17
  $ apppot jobs cancel --state queued --all
  $ apppot jobs resubmit my-sweep
  $ apppot jobs clean --state done --all
  $ apppot jobs adopt --target arc https://arc.example.org:443/arex/rest/1.0/jobs/0123ab

Exit codes: 0 done (wait: all tasks succeeded), 1 failed (wait: a task did not succeed),
2 the command line makes no sense. A target that does not answer makes no job fail.`;

type Action = keyof typeof import('../jobs/actions.ts');

/** `apppot jobs …`. */
export const jobsCommand: DefineCommand = (context) => {
  const command = new Command('jobs').description('what became of submitted jobs').addHelpText('after', HELP);
  const add = (
    name: string,
    description: string,
    action: Action,
    extend?: (to: CommandUnknownOpts) => void,
  ) => {
    const sub = command
      .command(name)
      .description(description)
      .argument('[job...]', 'identifiers, names, ID_INDEX')
      .option('--target <name>', 'only those of this target')
      .option('--state <state...>', 'only those in this state')
      .option('--all', 'all of them');
    extend?.(sub);
    sub.action(async (words, options) => {
      const actions = await import('../jobs/actions.ts');
      await actions[action](context, words, options);
    });
    return sub;
  };
  add('list', 'list jobs with their states', 'listJobs', (sub) =>
    sub.option('--watch', 'again and again, until all have ended').option('--tasks', 'every task of arrays'),
  ).aliases(['ls', 'status', 'stat']);
  add('show', 'everything that is known about jobs', 'showJobs');
  add('wait', 'wait until jobs have ended; sends lost ones again, as --retry said', 'waitForJobs');
  command
    .command('logs')
    .alias('cat')
    .description('what a job has printed so far')
    .argument('<job>', 'identifier, name or ID_INDEX')
    .option('-f, --follow', 'go on until the job has ended')
    .option('--stderr', 'its standard error')
    .option('--console', "the guest's console, of a launch that failed")
    .option('--batch', "the batch system's own output")
    .action(async (word, options) => {
      const { showLog } = await import('../jobs/logs.ts');
      await showLog(context, word, options);
    });
  add('fetch', 'bring results here', 'fetchJobs', (sub) =>
    sub.option('--into <folder>', 'where to (a folder NAME-ID here)'),
  ).alias('get');
  add('cancel', 'end jobs', 'cancelJobs', (sub) => sub.option('--dry-run', 'say what would be ended')).alias(
    'kill',
  );
  add('resubmit', 'send failed and cancelled tasks again', 'resubmitJobs');
  add('clean', 'remove ended jobs, here and at the target', 'cleanJobs', (sub) =>
    sub
      .option('--force', 'also those whose results were not fetched')
      .option('--dry-run', 'say what would be removed'),
  );
  add('reconcile', 'find out what became of sendings that were cut off', 'reconcileJobs');
  command
    .command('adopt')
    .description('follow jobs of a target that something else submitted (arcsub, another computer)')
    .argument('[id...]', "the target's identifiers; all that are not in the journal without")
    .requiredOption('--target <name>', 'where they are')
    .option('-J, --name <name>', 'what to call them here')
    .option('-o, --stdout <file>', 'name of its standard output', 'stdout.txt')
    .option('-e, --stderr <file>', 'name of its standard error', 'stderr.txt')
    .action(async (ids, options) => {
      const { adoptJobs } = await import('../jobs/recover.ts');
      await adoptJobs(context, ids, options);
    });
  add('stats', 'how much of processors and memory was used', 'jobStats');
  return command;
};
