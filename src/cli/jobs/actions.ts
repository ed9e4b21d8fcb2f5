/** What the subcommands of `apppot jobs` do. */
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ApppotError } from '../../errors.ts';
import { cancelTasks, cleanTasks } from '../../grid/work/end.ts';
import { defaultFolder, fetchResults } from '../../grid/work/fetch.ts';
import { follow } from '../../grid/work/follow.ts';
import { isOpen } from '../../grid/work/reconcile.ts';
import { sendAttempt } from '../../grid/work/send.ts';
import { isEnded } from '../../job/record.ts';
import { newSubmissionId } from '../../job/sandbox.ts';
import type { JournalJob } from '../../job/journal.ts';
import { taskName, taskNames, tasksOf } from '../../job/select.ts';
import type { CommandContext } from '../context.ts';
import { table } from '../table.ts';
import { withAdvice } from './advice.ts';
import { choose, chooseFresh, type Choice } from './choose.ts';
import { jobDetails, jobJson, jobTable, statsTable } from './format.ts';
import { withWork } from './work.ts';

export { reconcileJobs } from './recover.ts';

type Words = readonly string[];

export async function listJobs(
  context: CommandContext,
  words: Words,
  choice: Choice & { readonly watch?: boolean | undefined; readonly tasks?: boolean | undefined },
): Promise<void> {
  await withWork(context, async (work) => {
    const display = context.display();
    for (;;) {
      const { chosen, unknowns } = await chooseFresh(work, words, choice, false);
      const text = jobTable(chosen, unknowns, choice.tasks === true);
      const open = chosen.filter(({ job }) => isOpen(job));
      const data = chosen.map(({ job, positions }) => jobJson(job, positions, unknowns));
      if (choice.watch === true) display.refresh(data, text);
      else display.result(data, text);
      if (open.length > 0 && choice.watch !== true)
        work.options.progress.note(
          `nobody knows whether ${open.map(({ job }) => job.shortId).join(', ')} reached the target: apppot jobs reconcile`,
        );
      const active = chosen.flatMap(tasksOf).some(({ status }) => !isEnded(status));
      if (choice.watch !== true || !active) return;
      await delay(2000, undefined, { signal: context.signal }).catch(() => undefined);
      if (context.signal.aborted) return;
    }
  });
}

export async function showJobs(context: CommandContext, words: Words, choice: Choice): Promise<void> {
  await withWork(context, async (work) => {
    const { chosen, unknowns } = await chooseFresh(work, words, choice, true);
    context.display().result(
      chosen.map(({ job, positions }) => ({
        ...jobJson(job, positions, unknowns),
        description: job.record.description,
      })),
      chosen.map((one) => jobDetails(one, unknowns)).join('\n\n'),
    );
  });
}

export async function waitForJobs(context: CommandContext, words: Words, choice: Choice): Promise<void> {
  await withWork(context, async (work) => {
    const chosen = await choose(work, words, choice, true);
    await withAdvice(
      () => follow(work, chosen),
      () => 'The jobs go on without this command; the same command waits again.',
    );
    context.display().result(
      chosen.map(({ job, positions }) => jobJson(job, positions)),
      jobTable(chosen),
    );
    if (chosen.flatMap(tasksOf).some(({ status }) => status.state !== 'done')) context.exitWith(1);
  });
}

export async function fetchJobs(
  context: CommandContext,
  words: Words,
  choice: Choice & { readonly into?: string | undefined },
): Promise<void> {
  await withWork(context, async (work) => {
    const { chosen } = await chooseFresh(work, words, choice, true);
    const results = [];
    let running = 0;
    for (const { job, positions } of chosen) {
      const base = choice.into === undefined ? defaultFolder(job, process.cwd()) : resolve(choice.into);
      const folder = chosen.length > 1 && choice.into !== undefined ? defaultFolder(job, base) : base;
      const fetched = await withAdvice(
        () => fetchResults(work, job, positions, folder),
        () => 'The same command goes on with what is missing.',
      );
      for (const { position, folder, files } of fetched)
        results.push({ id: taskName(job, position), folder, files });
      running += tasksOf({ job, positions }).filter(({ status }) => !isEnded(status)).length;
    }
    const text = results.map(({ id, folder, files }) => `${id}: ${files.length} files in ${folder}`);
    context.display().result(results, text.join('\n'));
    if (running > 0)
      work.options.progress.note(
        running === 1
          ? 'one task has not ended: its results stay where they are'
          : `${running} tasks have not ended: their results stay where they are`,
      );
    if (results.length === 0)
      throw new ApppotError('job-state', 'There is nothing to fetch.', {
        hint:
          running > 0
            ? 'Results come when a job has ended: apppot jobs wait.'
            : 'What was cancelled has no results, nor has what was removed or never got to its target.',
      });
  });
}

export async function cancelJobs(
  context: CommandContext,
  words: Words,
  choice: Choice & { readonly dryRun?: boolean | undefined },
): Promise<void> {
  await withWork(context, async (work) => {
    const { chosen } = await chooseFresh(work, words, choice, true);
    const asked: string[] = [];
    const lines: string[] = [];
    const failed: string[] = [];
    const word = choice.dryRun === true ? 'would cancel' : 'cancelled';
    const tell = (job: JournalJob, positions: readonly number[]): void => {
      asked.push(...positions.map((position) => taskName(job, position)));
      if (positions.length > 0) lines.push(`${word} ${taskNames(job, positions)}`);
    };
    for (const { job, positions } of chosen) {
      if (isOpen(job))
        work.options.progress.note(
          `${job.shortId}: nobody knows whether the target has all of it: apppot jobs reconcile`,
        );
      if (choice.dryRun === true) {
        tell(
          job,
          tasksOf({ job, positions })
            .filter(({ status }) => !isEnded(status))
            .map(({ position }) => position),
        );
        continue;
      }
      const result = await cancelTasks(work, job, positions);
      tell(
        job,
        result.asked.filter((position) => !result.failures.has(position)),
      );
      failed.push(...[...result.failures.values()].map(({ message }) => message));
    }
    context.display().result({ cancelled: asked, failed }, lines.join('\n'));
    if (asked.length === 0 && failed.length === 0 && !chosen.some(({ job }) => isOpen(job)))
      work.options.progress.note('nothing to cancel: all of it has ended');
    if (failed.length > 0) throw new ApppotError('target', failed.join('\n'));
  });
}

export async function resubmitJobs(context: CommandContext, words: Words, choice: Choice): Promise<void> {
  await withWork(context, async (work) => {
    const { chosen } = await chooseFresh(work, words, choice, true);
    const sent: string[] = [];
    for (const { job, positions } of chosen)
      await job.locked(work.signal, work.onWait, async () => {
        // Done ones only when they are named by --state or one by one.
        const again = tasksOf({ job, positions })
          .filter(
            ({ status }) =>
              isEnded(status) && (status.state !== 'done' || choice.state?.includes('done') === true),
          )
          .map(({ position }) => position);
        if (again.length === 0) return;
        const { refusals } = await sendAttempt(work, job, again, newSubmissionId());
        if (refusals[0] !== undefined) throw refusals[0];
        sent.push(...again.map((position) => taskName(job, position)));
      });
    if (sent.length === 0)
      throw new ApppotError('job-state', 'None of these failed or was cancelled.', {
        hint: 'With --state done, tasks that succeeded are sent again as well.',
      });
    context.display().result({ resubmitted: sent }, sent.join('\n'));
  });
}

export async function cleanJobs(
  context: CommandContext,
  words: Words,
  choice: Choice & { readonly force?: boolean | undefined; readonly dryRun?: boolean | undefined },
): Promise<void> {
  await withWork(context, async (work) => {
    const { chosen } = await chooseFresh(work, words, choice, true);
    const removed: string[] = [];
    const lines: string[] = [];
    const kept: string[] = [];
    const word = choice.dryRun === true ? 'would remove' : 'removed';
    const failed: string[] = [];
    for (const { job, positions } of chosen) {
      const tasks = tasksOf({ job, positions });
      const ready = tasks.filter(
        ({ status, fetched }) =>
          isEnded(status) &&
          (choice.force === true ||
            fetched !== undefined ||
            status.state === 'cancelled' ||
            status.reason === 'staging'),
      );
      kept.push(
        ...tasks.filter((task) => !ready.includes(task)).map(({ position }) => taskName(job, position)),
      );
      const names = new Map(ready.map(({ position }) => [position, taskName(job, position)]));
      if (choice.dryRun === true) {
        removed.push(...names.values());
        lines.push(`${word} ${taskNames(job, [...names.keys()])}`);
        continue;
      }
      if (ready.length === 0) continue;
      const result = await cleanTasks(work, job, [...names.keys()]);
      removed.push(...result.cleaned.map((position) => names.get(position) ?? ''));
      if (result.cleaned.length > 0) lines.push(`${word} ${taskNames(job, result.cleaned)}`);
      failed.push(...[...result.failures.values()].map(({ message }) => message));
    }
    context.display().result({ removed, kept, failed }, lines.join('\n'));
    if (kept.length > 0)
      work.options.progress.note(
        `kept, because they run or their results were not fetched: ${kept.slice(0, 10).join(', ')}${kept.length > 10 ? ', …' : ''} (--force removes ended ones)`,
      );
    if (failed.length > 0) throw new ApppotError('target', [...new Set(failed)].join('\n'));
  });
}

export async function jobStats(context: CommandContext, words: Words, choice: Choice): Promise<void> {
  await withWork(context, async (work) => {
    const { chosen } = await chooseFresh(work, words, choice, false);
    const stats = statsTable(chosen);
    const rows = stats.map((one) => [
      one.id,
      one.name.slice(0, 24),
      one.state,
      `${one.wallSeconds.toFixed(1)} s`,
      // Processor time is counted in hundredths of a second.
      one.wallSeconds < 1 ? 'too short to say' : `${one.cpuEfficiency} % of ${one.cpus}`,
      `${one.memoryMiB} MiB (${one.memoryEfficiency} %)`,
    ]);
    context
      .display()
      .result(stats, rows.length === 0 ? '' : table(['ID', 'NAME', 'STATE', 'WALL', 'CPU', 'MEMORY'], rows));
    const unknown = chosen.flatMap(tasksOf).length - rows.length;
    if (unknown > 0)
      work.options.progress.note(
        `not told: ${unknown} of ${unknown + rows.length} tasks, which have not ended, or ended without a word of what they used`,
      );
  });
}
