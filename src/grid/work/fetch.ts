/** Brings results home. */
import { join } from 'node:path';
import type { JournalJob } from '../../job/journal.ts';
import { isEnded } from '../../job/record.ts';
import type { Work } from './context.ts';

/** What became of one task's results. */
export interface Fetched {
  readonly position: number;
  readonly folder: string;
  readonly files: readonly string[];
}

/**
 * Fetches results of ended tasks. Called again it fetches what is missing.
 *
 * @param base folder for them; a folder for each task of an array is made in it
 * @returns one entry for each task that has results
 */
export async function fetchResults(
  work: Work,
  job: JournalJob,
  positions: readonly number[],
  base: string,
): Promise<readonly Fetched[]> {
  return job.locked(work.signal, work.onWait, async () => {
    const backend = await work.backend(job.record.target);
    const fetched: Fetched[] = [];
    for (const position of positions) {
      const task = job.tasks[position];
      if (task?.remote === undefined || !isEnded(task.status) || task.cleaned) continue;
      // A job that never started has nothing.
      if (task.status.state === 'cancelled' && task.status.exitCode === undefined) continue;
      const index = job.record.tasks[position]?.index;
      const folder = index === undefined ? base : join(base, String(index));
      const files = await backend.fetch(task.remote, folder, {
        signal: work.signal,
        progress: work.options.progress,
        outputs: outputsOf(job),
      });
      await job.add({ e: 'fetched', at: new Date().toISOString(), tasks: { [position]: folder } });
      fetched.push({ position, folder, files });
    }
    return fetched;
  });
}

/** Patterns of a job's results; both outputs of the program always are. */
export function outputsOf({ record }: JournalJob): readonly string[] {
  const { stageOut, stdout, stderr } = record.description;
  return [...stageOut, stdout, stderr];
}

/** Where results go when nobody says: beside what was submitted from. */
export function defaultFolder(job: JournalJob, here: string): string {
  const name = job.record.description.name.replace(/[^\p{L}\p{N}._-]+/gu, '_').replace(/^\.+/, '_');
  return join(here, `${name}-${job.shortId}`);
}
