/** What an outcome.json says about a job's end. */
import * as v from 'valibot';
import type { JobOutcome, JobStatus, LostReason } from './types.ts';

const number = v.pipe(v.number(), v.finite());
const SCHEMA = v.looseObject({
  origin: v.picklist(['job', 'launcher']),
  exitCode: v.pipe(number, v.integer(), v.minValue(0), v.maxValue(255)),
  signal: v.nullable(number),
  error: v.optional(v.looseObject({ code: v.string(), message: v.string(), hint: v.optional(v.string()) })),
  wallSeconds: v.optional(number),
  userSeconds: v.optional(number),
  systemSeconds: v.optional(number),
  maxRssKiB: v.optional(number),
  oomKills: v.optional(number),
  kernelVersion: v.optional(v.string()),
  baseId: v.optional(v.string()),
  node: v.optional(v.string()),
  startedAt: v.optional(v.string()),
  endedAt: v.optional(v.string()),
  terminated: v.optional(v.boolean()),
  timeWasOver: v.optional(v.boolean()),
});

/**
 * Reads an outcome. It comes from the job folder, where the job itself may have written anything.
 *
 * @returns undefined when it is none
 */
export function parseOutcome(text: string): JobOutcome | undefined {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return undefined;
  }
  const result = v.safeParse(SCHEMA, data);
  return result.success ? (result.output as JobOutcome) : undefined;
}

const REASONS: Readonly<Record<string, LostReason>> = {
  'time-limit': 'time-limit',
  'guest-memory': 'out-of-memory',
  'host-killed': 'out-of-memory',
  'ram-space': 'out-of-memory',
  'no-space': 'no-space',
  'output-lost': 'no-space',
  staging: 'staging',
};

/** The end of a job, as its outcome tells it. */
export function statusOf(outcome: JobOutcome): JobStatus {
  const { origin, exitCode, signal, node, startedAt, endedAt } = outcome;
  const reason = reasonOf(outcome);
  return {
    state: exitCode === 0 && origin === 'job' ? 'done' : 'failed',
    exitCode,
    ...(signal === null ? {} : { signal }),
    ...(reason === undefined ? {} : { reason }),
    ...messageOf(outcome, reason),
    ...(node === undefined ? {} : { node }),
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(endedAt === undefined ? {} : { endedAt }),
    usage: {
      wall: outcome.wallSeconds ?? 0,
      user: outcome.userSeconds ?? 0,
      system: outcome.systemSeconds ?? 0,
      maxRss: outcome.maxRssKiB ?? 0,
    },
  };
}

/** The sentence of the launcher; of its own accord, only where a reason alone leaves a question. */
function messageOf({ error }: JobOutcome, reason: LostReason | undefined): { readonly message?: string } {
  if (error !== undefined) return { message: error.message };
  return reason === 'out-of-memory'
    ? {
        message: 'The memory of its guest was used up, and a program ended by that. Ask for more with --mem.',
      }
    : {};
}

function reasonOf({
  origin,
  exitCode,
  error,
  terminated,
  timeWasOver,
  oomKills,
}: JobOutcome): LostReason | undefined {
  if (exitCode === 0 && origin === 'job') return undefined;
  if (timeWasOver === true) return 'time-limit';
  if (terminated === true) return 'cancelled';
  if (origin === 'launcher') return REASONS[error?.code ?? ''] ?? 'launch';
  return (oomKills ?? 0) > 0 ? 'out-of-memory' : undefined;
}
