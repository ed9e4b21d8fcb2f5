/** Ends jobs, and removes what is left of ended ones. */
import type { JournalJob } from '../../job/journal.ts';
import { isEnded } from '../../job/record.ts';
import type { Result } from '../../job/types.ts';
import type { Work } from './context.ts';

/** What could not be done, by position. */
export type Failures = ReadonlyMap<number, Error>;

/** Asks for the end of tasks that have not ended. */
export async function cancelTasks(
  work: Work,
  job: JournalJob,
  positions: readonly number[],
): Promise<{ readonly asked: readonly number[]; readonly failures: Failures }> {
  const chosen = positions.filter((position) => {
    const task = job.tasks[position];
    return task?.remote !== undefined && !isEnded(task.status);
  });
  if (chosen.length === 0) return { asked: [], failures: new Map() };
  // Written first: an end that comes at once is then known as ours.
  await job.add({ e: 'cancel', at: new Date().toISOString(), tasks: chosen });
  const backend = await work.backend(job.record.target);
  const remotes = chosen.flatMap((position) => job.tasks[position]?.remote ?? []);
  return {
    asked: chosen,
    failures: failuresOf(chosen, await backend.cancel(remotes, { signal: work.signal })),
  };
}

/**
 * Removes ended tasks at their target, and the job from the journal with its last one.
 *
 * @returns how many were removed
 */
export async function cleanTasks(
  work: Work,
  job: JournalJob,
  positions: readonly number[],
): Promise<{ readonly cleaned: readonly number[]; readonly failures: Failures }> {
  return job.locked(work.signal, work.onWait, async () => {
    const chosen = positions.filter((position) => {
      const task = job.tasks[position];
      return task !== undefined && !task.cleaned && isEnded(task.status);
    });
    const there = chosen.filter((position) => job.tasks[position]?.remote !== undefined);
    let failures: Failures = new Map();
    if (there.length > 0) {
      const backend = await work.backend(job.record.target);
      const remotes = there.flatMap((position) => job.tasks[position]?.remote ?? []);
      failures = failuresOf(there, await backend.clean(remotes, { signal: work.signal }));
    }
    const cleaned = chosen.filter((position) => !failures.has(position));
    if (cleaned.length > 0) await job.add({ e: 'cleaned', at: new Date().toISOString(), tasks: cleaned });
    if (job.tasks.every((task) => task.cleaned)) await job.remove();
    return { cleaned, failures };
  });
}

function failuresOf(positions: readonly number[], results: readonly Result<void>[]): Failures {
  return new Map(
    results.flatMap((result, at) =>
      'error' in result ? [[positions[at] ?? -1, result.error] as [number, Error]] : [],
    ),
  );
}
