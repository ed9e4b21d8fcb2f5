/** Subcommands of `apppot jobs` that bring journal and targets together: after crashes, and for jobs of others. */
import { ApppotError } from '../../errors.ts';
import { adopt } from '../../grid/work/adopt.ts';
import { isOpen, reconcile, strangers } from '../../grid/work/reconcile.ts';
import { refresh } from '../../grid/work/refresh.ts';
import { checkName } from '../../job/names.ts';
import type { CommandContext } from '../context.ts';
import { choose, type Choice } from './choose.ts';
import { jobJson, jobTable } from './format.ts';
import { withWork } from './work.ts';

export async function reconcileJobs(
  context: CommandContext,
  words: readonly string[],
  choice: Choice,
): Promise<void> {
  await withWork(context, async (work) => {
    const chosen = await choose(work, words, choice, false);
    const rows: { id: string; found: number; missing: number }[] = [];
    const troubles: string[] = [];
    for (const { job } of chosen.filter((one) => isOpen(one.job))) {
      try {
        const { found, missing } = await reconcile(work, job);
        rows.push({ id: job.shortId, found, missing });
      } catch (error) {
        context.signal.throwIfAborted();
        if (!(error instanceof ApppotError)) throw error;
        troubles.push(`${job.shortId}: ${error.message}`);
      }
    }
    await refresh(work, chosen);
    const foreign = choice.target === undefined ? [] : await strangers(work, choice.target);
    const text = [
      ...rows.map(
        ({ id, found, missing }) => `${id}: ${found} task(s) found at the target, ${missing} never got there`,
      ),
      ...foreign.map(({ native }) => `${native} at ${choice.target ?? ''} is not in the journal`),
    ];
    if (foreign.length > 0)
      work.options.progress.note(
        `apppot jobs adopt --target ${choice.target ?? ''} [ID...] writes these down here`,
      );
    context
      .display()
      .result(
        { settled: rows, strangers: foreign },
        text.length === 0 ? 'Nothing is open.' : text.join('\n'),
      );
    if (troubles.length > 0)
      throw new ApppotError('transport', troubles.join('\n'), {
        hint: 'They stay as they are: try again later.',
        transient: true,
      });
  });
}

export async function adoptJobs(
  context: CommandContext,
  natives: readonly string[],
  options: {
    readonly target: string;
    readonly name?: string | undefined;
    readonly stdout: string;
    readonly stderr: string;
  },
): Promise<void> {
  await withWork(context, async (work) => {
    const jobs = await adopt(work, options.target, natives, {
      name: options.name,
      stdout: checkName(options.stdout, '--stdout'),
      stderr: checkName(options.stderr, '--stderr'),
    });
    const chosen = jobs.map((job) => ({ job, positions: [0] }));
    const { unknowns } = await refresh(work, chosen);
    context.display().result(
      chosen.map(({ job, positions }) => jobJson(job, positions, unknowns)),
      jobs.length === 0 ? `Nothing at ${options.target} is not in the journal.` : jobTable(chosen, unknowns),
    );
  });
}
