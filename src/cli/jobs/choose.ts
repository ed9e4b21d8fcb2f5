import { ApppotError } from '../../errors.ts';
import type { Work } from '../../grid/work/context.ts';
import { refresh, type Unknowns } from '../../grid/work/refresh.ts';
import { selectJobs, type Chosen } from '../../job/select.ts';

/** Options of choice, which all subcommands have. */
export interface Choice {
  readonly target?: string | undefined;
  readonly state?: string[] | undefined;
  readonly all?: boolean | undefined;
}

/**
 * The jobs that a command is about.
 *
 * @param must nothing chosen is no choice: --all, a filter, or a job has to be named
 * @throws ApppotError `usage`, `not-found`
 */
export async function choose(
  work: Work,
  words: readonly string[],
  choice: Choice,
  must: boolean,
): Promise<readonly Chosen[]> {
  const open =
    words.length === 0 && choice.all !== true && choice.target === undefined && choice.state === undefined;
  if (must && open)
    throw new ApppotError('usage', 'Which jobs?', {
      hint: 'Name identifiers or names, narrow down with --target or --state, or say --all.',
    });
  return selectJobs(await work.journal.list(), words, { target: choice.target, states: choice.state });
}

/** Asks the targets first; what cannot be asked is told, and shown as unknown. */
export async function chooseFresh(
  work: Work,
  words: readonly string[],
  choice: Choice,
  must: boolean,
): Promise<{ readonly chosen: readonly Chosen[]; readonly unknowns: Unknowns }> {
  // States may change by asking: chosen by state afterwards.
  const before = await choose(
    work,
    words,
    { ...choice, ...(choice.state === undefined ? {} : { all: true, state: undefined }) },
    must,
  );
  const { troubles, unknowns } = await refresh(work, before);
  for (const [target, error] of troubles)
    work.options.progress.note(`${target}: ${error.message} Its jobs are shown as they were known last.`);
  const jobs = before.map(({ job }) => job);
  const chosen =
    choice.state === undefined
      ? before
      : selectJobs(jobs, words, { target: choice.target, states: choice.state });
  return { chosen, unknowns };
}
