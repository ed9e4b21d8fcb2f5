/** After a client was killed while it sent: finds out what the targets took. */
import type { JournalJob } from '../../job/journal.ts';
import type { RemoteJob } from '../../job/types.ts';
import type { Work } from './context.ts';

/** What was found out about one job. */
export interface Reconciled {
  readonly job: JournalJob;
  readonly found: number;
  /** These never reached the target: they may be sent again. */
  readonly missing: number;
}

/** True when a client ended before it knew what became of its sending. */
export function isOpen(job: JournalJob): boolean {
  return job.tasks.some(
    ({ status, remote }) => remote === undefined && ['new', 'staging'].includes(status.state),
  );
}

/**
 * Settles one job.
 *
 * @throws ApppotError `transport`, `credentials` when the target cannot be asked: then the job stays as it is
 */
export async function reconcile(work: Work, job: JournalJob): Promise<Reconciled> {
  return job.locked(work.signal, work.onWait, async () => {
    let found = 0;
    let missing = 0;
    const open = job.tasks.filter(
      ({ status, remote }) => remote === undefined && ['new', 'staging'].includes(status.state),
    );
    const backend = await work.backend(job.record.target);
    for (const id of new Set(open.map(({ submission }) => submission))) {
      const sent = job.attemptTasks(id);
      const known =
        sent.length === 0 ? new Map<number, RemoteJob>() : await backend.find(id, { signal: work.signal });
      const jobs: Record<number, RemoteJob> = {};
      for (const [at, remote] of known) {
        const position = sent[at];
        if (position !== undefined) jobs[position] = remote;
      }
      if (Object.keys(jobs).length > 0) await job.add({ e: 'accepted', id, jobs });
      const lost = open
        .filter(({ submission, position }) => submission === id && jobs[position] === undefined)
        .map(({ position }) => position);
      found += Object.keys(jobs).length;
      missing += lost.length;
      if (lost.length > 0)
        await job.add({
          e: 'refused',
          id,
          at: new Date().toISOString(),
          tasks: lost,
          message: 'It was never sent: the client ended before. "apppot jobs resubmit" sends it.',
        });
    }
    return { job, found, missing };
  });
}

/** Jobs of ours at a target that the journal knows nothing of. */
export async function strangers(work: Work, target: string): Promise<readonly RemoteJob[]> {
  const backend = await work.backend(target);
  const known = new Set(
    (await work.journal.list()).flatMap((job) => job.tasks.flatMap(({ remote }) => remote?.native ?? [])),
  );
  return (await backend.list({ signal: work.signal })).filter(({ native }) => !known.has(native));
}
