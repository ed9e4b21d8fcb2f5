/** What `apppot submit` does. */
import type { CommandContext } from '../context.ts';
import { loadSettings } from '../../config/load.ts';
import { ApppotError } from '../../errors.ts';
import type { Work } from '../../grid/work/context.ts';
import { defaultFolder, fetchResults } from '../../grid/work/fetch.ts';
import { follow } from '../../grid/work/follow.ts';
import { isOpen } from '../../grid/work/reconcile.ts';
import { refresh } from '../../grid/work/refresh.ts';
import { attemptSubmission, sendAttempt } from '../../grid/work/send.ts';
import { describeJob, mergeValues, readJobFile, type JobRequest } from '../../job/description.ts';
import type { Values } from '../../job/job-file.ts';
import type { JobRecord } from '../../job/record.ts';
import { newSubmissionId } from '../../job/sandbox.ts';
import { selectJobs, taskName, tasksOf } from '../../job/select.ts';
import { withAdvice } from './advice.ts';
import { jobJson, jobTable } from './format.ts';
import { withWork } from './work.ts';

export interface SubmitFlags {
  readonly job?: string | undefined;
  readonly autoStage: boolean;
  readonly wait: boolean;
  /** Waits, too. */
  readonly fetch: boolean;
  readonly dryRun: boolean;
  readonly format?: string | undefined;
}

/** Describes, writes down, sends. */
export async function submit(
  context: CommandContext,
  words: readonly string[],
  given: Values,
  flags: SubmitFlags,
): Promise<void> {
  await withWork(context, async (work) => {
    const values = flags.job === undefined ? given : mergeValues(given, await readJobFile(flags.job));
    const record = await makeRecord(work, values, words, flags.autoStage);
    const positions = record.tasks.map((_task, position) => position);
    if (flags.dryRun) {
      await dryRun(context, work, record, flags.format);
      return;
    }
    const job = await work.journal.create(record);
    const { accepted, refusals } = await withAdvice(
      () => job.locked(work.signal, work.onWait, () => sendAttempt(work, job, positions, record.id)),
      () =>
        isOpen(job)
          ? `Nobody knows whether ${record.target} took job ${job.shortId}: "apppot jobs reconcile ${job.shortId}" finds out.`
          : `Job ${job.shortId} is at ${record.target}: "apppot jobs wait ${job.shortId}" waits for it, "apppot jobs cancel ${job.shortId}" ends it.`,
    );
    if (accepted === 0 && refusals[0] !== undefined) throw refusals[0];
    const display = context.display();
    const wait = flags.wait || flags.fetch;
    if (wait) {
      work.options.progress.note(`job ${job.shortId} is at ${record.target}; waiting for its end`);
      await withAdvice(
        () => follow(work, [{ job, positions }]),
        () =>
          `Job ${job.shortId} goes on without this command: "apppot jobs wait ${job.shortId}" waits for it, "apppot jobs fetch ${job.shortId}" brings its results, "apppot jobs cancel ${job.shortId}" ends it.`,
      );
    }
    const fetched = flags.fetch
      ? await withAdvice(
          () => fetchResults(work, job, positions, defaultFolder(job, process.cwd())),
          () => `"apppot jobs fetch ${job.shortId}" goes on with what is missing.`,
        )
      : [];
    const lines = fetched.map(
      (one) => `${taskName(job, one.position)}: ${one.files.length} files in ${one.folder}`,
    );
    display.result(jobJson(job), wait ? [jobTable([{ job, positions }]), ...lines].join('\n') : job.shortId);
    const [refusal] = refusals;
    if (refusal !== undefined) throw refusal;
    if (wait && tasksOf({ job, positions }).some(({ status }) => status.state !== 'done'))
      context.exitWith(1);
  });
}

async function makeRecord(
  work: Work,
  values: Values,
  words: readonly string[],
  autoStage: boolean,
): Promise<JobRecord> {
  const settings = loadSettings();
  const name = values.get('to')?.at(-1) ?? settings.target?.value ?? 'local';
  const target = work.target(name);
  const request = await describeJob(
    values,
    words,
    {
      // A runtime environment may bring an image as well.
      image:
        target.image ??
        settings.image?.value ??
        (target.type === 'arc' && target.rte !== undefined ? 'site:' : undefined),
      mem: settings.mem?.value,
      cpus: settings.cpus?.value,
    },
    { autoStage },
  );
  return {
    format: 1,
    id: newSubmissionId(),
    created: new Date().toISOString(),
    target: name,
    description: request.description,
    tasks: request.tasks,
    taskInputs: request.taskInputs,
    ...(request.parallel === undefined ? {} : { parallel: request.parallel }),
    after: await dependencies(work, name, request),
    folder: process.cwd(),
  };
}

/** Jobs to wait for, by the target's own names; those that have ended are settled here. */
async function dependencies(work: Work, target: string, request: JobRequest): Promise<JobRecord['after']> {
  if (request.after.length === 0) return [];
  const jobs = await work.journal.list();
  // What ended meanwhile may be gone from the target's own list: then it could not be named there.
  await refresh(
    work,
    request.after.flatMap(({ job }) => selectJobs(jobs, [job], {})),
  );
  return request.after.flatMap(({ when, job: word }) =>
    selectJobs(jobs, [word], {}).flatMap((chosen) => {
      if (chosen.job.record.target !== target)
        throw new ApppotError(
          'usage',
          `Job ${word} is on ${chosen.job.record.target}, and not on ${target}.`,
          {
            hint: 'A job can follow jobs of its own target only; "apppot jobs wait" waits here.',
          },
        );
      return tasksOf(chosen).flatMap(({ status, remote }) => {
        if (status.state === 'done' || (when === 'any' && ['failed', 'cancelled'].includes(status.state)))
          return [];
        if (status.state === 'failed' || status.state === 'cancelled')
          throw new ApppotError(
            'job-state',
            `Job ${word} did not succeed: what follows it would never start.`,
          );
        if (remote === undefined)
          throw new ApppotError('job-state', `Nobody knows whether the target has job ${word}.`, {
            hint: `apppot jobs reconcile ${word}`,
          });
        return [{ when, job: remote }];
      });
    }),
  );
}

async function dryRun(
  context: CommandContext,
  work: Work,
  record: JobRecord,
  format: string | undefined,
): Promise<void> {
  const positions = record.tasks.map((_task, position) => position);
  const submission = await attemptSubmission(work, { record }, positions, record.id);
  const backend = await work.backend(record.target);
  const files = await backend.preview(submission, format);
  const text = [...files].map(([name, content]) => `=== ${name}\n${content.replace(/\n?$/, '\n')}`);
  context
    .display()
    .result(
      { target: record.target, tasks: record.tasks.length, files: Object.fromEntries(files) },
      text.join('\n'),
    );
}
