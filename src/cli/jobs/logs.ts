/** `apppot jobs logs`: what a job has printed so far. */
import { setTimeout as delay } from 'node:timers/promises';
import { ApppotError } from '../../errors.ts';
import { refresh } from '../../grid/work/refresh.ts';
import { isEnded } from '../../job/record.ts';
import { taskName, tasksOf } from '../../job/select.ts';
import type { JobStream } from '../../grid/backend.ts';
import type { CommandContext } from '../context.ts';
import { choose, type Choice } from './choose.ts';
import { withWork } from './work.ts';

export interface LogFlags extends Choice {
  readonly follow?: boolean | undefined;
  readonly stderr?: boolean | undefined;
  readonly console?: boolean | undefined;
  readonly batch?: boolean | undefined;
}

/** Prints an output of one task; with `follow` until its end. */
export async function showLog(context: CommandContext, word: string, flags: LogFlags): Promise<void> {
  const stream: JobStream =
    flags.stderr === true
      ? 'stderr'
      : flags.console === true
        ? 'console'
        : flags.batch === true
          ? 'target'
          : 'stdout';
  await withWork(context, async (work) => {
    const [one, ...others] = await choose(work, [word], flags, true);
    if (one === undefined) throw new ApppotError('not-found', `There is no job "${word}".`);
    const [position, ...more] = one.positions;
    if (position === undefined || others.length > 0 || more.length > 0)
      throw new ApppotError('usage', `"${word}" is several tasks.`, {
        hint: `One at a time: ${taskName(one.job, position ?? 0)}.`,
      });
    const { job } = one;
    const { stdout, stderr } = job.record.description;
    const backend = await work.backend(job.record.target);
    let offset = 0;
    for (;;) {
      await refresh(work, [one]);
      const [task] = tasksOf(one);
      const ended = task === undefined || isEnded(task.status);
      if (task?.remote === undefined)
        throw new ApppotError('job-state', `Job ${word} is not at its target.`, {
          hint: 'apppot jobs reconcile',
        });
      for (;;) {
        const bytes = await backend.read(task.remote, stream, {
          signal: work.signal,
          offset,
          stdout,
          stderr,
        });
        if (bytes === undefined || bytes.length === 0) break;
        context.display().raw(bytes);
        offset += bytes.length;
      }
      if (flags.follow !== true || ended) {
        if (offset === 0) work.options.progress.note(silence(stream, task.status.state, ended));
        return;
      }
      await delay(1000, undefined, { signal: context.signal }).catch(() => undefined);
      if (context.signal.aborted) return;
    }
  });
}

/** Why there is nothing to be shown. */
function silence(stream: JobStream, state: string, ended: boolean): string {
  if (!ended) return `nothing yet: the job is ${state}`;
  if (stream === 'console') return 'no console is there: it is kept of launches that failed only';
  return state === 'cancelled'
    ? 'nothing is there: the job was cancelled'
    : { stdout: 'it printed nothing', stderr: 'it printed no errors', target: 'the target says nothing' }[
        stream
      ];
}
