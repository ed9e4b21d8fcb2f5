/** Handing in jobs: descriptions in bulk, then the inputs of each. */
import { ApppotError } from '../../errors.ts';
import type { RemoteJob, Result, Submission } from '../../job/types.ts';
import type { SubmitOptions } from '../backend.ts';
import type { ArcClient } from './client.ts';
import { humanDuration, secondsLeft, type Credentials } from './credentials.ts';
import { delegate, needsDelegation } from './delegation.ts';
import { arcJob, describeArcJob, type ArcJob } from './description.ts';
import { AT_ONCE } from './http.ts';
import { inParallel } from './parallel.ts';
import type { ArcSettings } from './settings.ts';
import { isSent, sizeOfFiles, uploadFiles, type UploadOptions } from './upload.ts';

/** Descriptions in one request; A-REX takes about a hundredth of a second for each. */
const BATCH = 50;
/** Inputs that are better given to the site once. */
const LARGE = 256 * 1024 * 1024;

/** See Backend.submit. */
export async function submitArc(
  client: ArcClient,
  settings: ArcSettings,
  submission: Submission,
  options: SubmitOptions,
): Promise<readonly Result<RemoteJob>[]> {
  refuseWhatArcLacks(submission);
  const { progress, signal } = options;
  const jobs = submission.tasks.map((_task, position) => arcJob(submission, position, settings));
  const total = (await inParallel(jobs, AT_ONCE, ({ files }) => sizeOfFiles(files))).reduce(
    (a, b) => a + b,
    0,
  );
  const credentials = await client.http.credentials();
  tellAhead(credentials, settings, submission, total, options);
  const results = new Array<Result<RemoteJob>>(jobs.length);
  await progress.step(
    `Submitting ${jobs.length === 1 ? 'a job' : `${jobs.length} jobs`} to ${client.http.host}`,
    async (step) => {
      const delegation = jobs.some((job) => needsDelegation(job, credentials))
        ? await delegate(client, signal)
        : undefined;
      const extra = delegation === undefined ? {} : { delegation };
      let sent = 0;
      let ready = 0;
      const show = (): void => {
        const share = total === 0 ? '' : `, ${Math.floor((sent / total) * 100)} % of their inputs`;
        step.update(`${ready} of ${jobs.length}${share}`);
      };
      for (let first = 0; first < jobs.length; first += BATCH) {
        const batch = jobs.slice(first, first + BATCH);
        const texts = await inParallel(batch, AT_ONCE, (job) => describeArcJob(job, 'adl', extra));
        const created = await client.create(bulk(texts), texts.length, signal);
        for (const [at, id] of created.entries()) {
          if ('error' in id) {
            results[first + at] = id;
            continue;
          }
          results[first + at] = { value: { native: client.urlOf(id.value) } };
        }
        await inParallel(created, AT_ONCE, async (id, at) => {
          const job = batch[at];
          if ('error' in id || job === undefined) return;
          const onBytes = (bytes: number): void => {
            sent += bytes;
            show();
          };
          // Told of when it can start, or has been cancelled: between the two it is not known what becomes of it.
          const onKnown = (): Promise<void> =>
            options.accepted(first + at, { native: client.urlOf(id.value) });
          const problem = await sendInputs(client, id.value, job, { signal, onBytes, onKnown });
          if (problem !== undefined) results[first + at] = { error: problem };
          ready += 1;
          show();
        });
      }
    },
  );
  return results;
}

/** @returns why the inputs of this job could not be sent; it was cancelled then, and never runs */
async function sendInputs(
  client: ArcClient,
  id: string,
  job: ArcJob,
  options: UploadOptions & { readonly onKnown: () => Promise<void> },
): Promise<Error | undefined> {
  try {
    await uploadFiles(client, id, job.files, job.script, options);
  } catch (error) {
    // Without all of its inputs it would wait at the site until that gives it up.
    const [ended] = await client.act('kill', [id], AbortSignal.timeout(10_000)).catch(() => []);
    const isEnded = ended !== undefined && 'value' in ended;
    // An interrupted one is a cancelled one.
    if (isEnded && options.signal.aborted) await options.onKnown();
    options.signal.throwIfAborted();
    if (!(error instanceof ApppotError)) throw error;
    if (!isEnded) return error;
    // It never runs, for certain: that is a refusal, and no loss.
    const { message, hint } = error;
    return new ApppotError('target', `Not sent: ${message}`, { cause: error, hint });
  }
  await options.onKnown();
  return undefined;
}

function refuseWhatArcLacks(submission: Submission): void {
  if (submission.after.length > 0)
    throw new ApppotError('target', 'ARC knows no jobs that wait for others.', {
      hint: 'Wait for the first ones (apppot jobs wait), then submit the others.',
    });
  if (submission.description.account !== undefined)
    throw new ApppotError('target', 'ARC knows no accounts: who pays follows from the certificate.', {
      hint: 'Leave out --account.',
    });
}

/** What the user wants to know before anything is sent. */
function tellAhead(
  credentials: Credentials,
  settings: ArcSettings,
  submission: Submission,
  total: number,
  { progress }: SubmitOptions,
): void {
  const warning = endingSoon(credentials, submission.description.time);
  if (warning !== undefined) progress.note(warning);
  if (submission.parallel !== undefined || settings.parallel !== undefined)
    progress.note('ARC has no limit of jobs at once: all of them are handed in');
  if (submission.tasks.length > 1 && total > LARGE) {
    const large = submission.files.filter((file) => isSent(file) && file.name.endsWith('.img'));
    const what = large.length > 0 ? 'the image' : 'files that all jobs share';
    progress.note(
      `${Math.ceil(total / 1024 ** 2)} MiB are sent, for each job its own copy; ${what} by URL would be fetched by the site once (apppot targets stage)`,
    );
  }
}

/** A certificate is renewed by people and takes them days; proxies and tokens are made anew in a minute. */
const RENEWAL = { certificate: 14 * 86_400, proxy: 3600, token: 3600 } as const;

/**
 * What to say of credentials that may end before the job does.
 *
 * @param time of the job, seconds; undefined when it has no limit
 */
export function endingSoon(
  credentials: Credentials,
  time: number | undefined,
  now = new Date(),
): string | undefined {
  const left = secondsLeft(credentials, now);
  const { kind, source } = credentials;
  if (left === undefined || left >= Math.max(time ?? 0, RENEWAL[kind])) return undefined;
  const what = `the ${kind} in ${source} ends in ${humanDuration(left)}`;
  const job = time === undefined || left >= time ? '' : `, and the job may take ${humanDuration(time)}`;
  return `${what}${job}; jobs run on without it, their results are fetched with a new one`;
}

/** Several descriptions in one document. */
function bulk(texts: readonly string[]): string {
  if (texts.length === 1) return texts[0] ?? '';
  const inner = texts.map((text) => text.replace(/^<\?xml[^>]*\?>\s*/, ''));
  return `<?xml version="1.0" encoding="UTF-8"?>\n<ActivityDescriptions>${inner.join('\n')}</ActivityDescriptions>`;
}
