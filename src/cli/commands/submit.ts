import { Command } from '@commander-js/extra-typings';
import { addJobOptions, givenValues } from '../job-options.ts';
import type { DefineCommand } from '../context.ts';

const HELP = `
The program runs in a folder of its own, which holds the files that were sent. Files that
the command names are sent by themselves; --stage-in sends others. Units are sbatch's: a
bare --time is minutes, a bare --mem is MB. The environment of the job is OMP_NUM_THREADS,
SLURM_ARRAY_TASK_ID, APPPOT_JOB_ID, the proxies of the node, and --env.

A job file has the same names: lines "stage-out = *.dat" below [job], and "command = …".

Examples:
  $ apppot submit -- ./my-program input.dat
  $ apppot submit --to vega -c 4 -m 8G -t 2:00:00 -- ./solve matrix.sms
  $ apppot submit --array 1-100%10 -- ./fit --seed-from-task
  $ apppot submit --sweep points.csv -- ./fit --mass {mass} --width {width}
  $ apppot submit -d afterok:3f2a91c0 -- ./merge
  $ apppot submit --fetch -- ./my-program input.dat
  $ apppot submit --job fit.ini --dry-run

Exit codes: 0 the target has taken it (with --wait or --fetch: all tasks succeeded), 1 it has
not, or a task failed.`;

/** `apppot submit`. */
export const submitCommand: DefineCommand = (context) => {
  const command = new Command('submit')
    .description('send a program to a target: here, a Slurm cluster, an ARC site')
    .argument('[words...]', 'the program and its arguments')
    .option('--job <file>', 'a job file; options given here come before its own')
    .option('--no-auto-stage', 'do not send files only because the command names them')
    .option('-W, --wait', 'wait for the end')
    .option('--fetch', 'wait for the end, and bring the results into a folder NAME-ID here')
    .option('--dry-run', 'print every file and description that would be sent, and send nothing')
    .option('--format <format>', 'with --dry-run for ARC: xrsl or adl')
    .passThroughOptions()
    .addHelpText('after', HELP);
  addJobOptions(command);
  return command.action(async (words, options) => {
    const { submit } = await import('../jobs/submit.ts');
    await submit(context, words, givenValues(options), {
      job: options.job,
      autoStage: options.autoStage,
      wait: options.wait === true,
      fetch: options.fetch === true,
      dryRun: options.dryRun === true,
      format: options.format,
    });
  });
};
