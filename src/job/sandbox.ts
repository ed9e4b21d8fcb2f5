/** From a description to what is sent: the files of a sandbox, which image/host/apppot-job runs on the worker. */
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { shellQuote } from '../process/quote.ts';
import { isUrl, PARTS, SCRIPT } from './names.ts';
import type { JobDescription, JobTask, SandboxFile, StageIn, Submission } from './types.ts';

/** What a target has, and what goes along. */
export interface SandboxParts {
  /** apppot-job of this package. */
  readonly script: string;
  /** Files of the runtime here (linux, slirp, apppot-start, linux-smp); none when the site has one. */
  readonly runtime: readonly string[];
  /** Folder on the web that holds the same files, for a site that fetches and keeps them. */
  readonly runtimeUrl?: string;
  /** The site's own runtime folder; without it and without files, APPPOT_RUNTIME of the site's environment. */
  readonly siteRuntime?: string;
  /** A batch system ends the job hard at its time limit: it has to be over before. */
  readonly batch: boolean;
  /** What a result can be reproduced by, as far as it is known here. Goes into outcome.json; the guest adds the rest. */
  readonly provenance: Readonly<Record<string, string | readonly string[]>>;
}

/** A new identifier of a submission. */
export function newSubmissionId(): string {
  return `apppot-${randomBytes(8).toString('hex')}`;
}

/**
 * Makes the submission of one attempt.
 *
 * @param id made by {@link newSubmissionId}, and written down before anything is sent
 */
export function makeSubmission(
  id: string,
  description: JobDescription,
  tasks: readonly { readonly task: JobTask; readonly inputs: readonly StageIn[] }[],
  parts: SandboxParts,
  extra: Pick<Submission, 'after'> & { readonly parallel?: number | undefined },
): Submission {
  const text = (name: string, content: string): SandboxFile => ({
    name: `${PARTS}/${name}`,
    content: Buffer.from(content),
  });
  return {
    id,
    description,
    tasks: tasks.map(({ task }) => task),
    ...(extra.parallel === undefined ? {} : { parallel: extra.parallel }),
    files: [
      { name: SCRIPT, file: parts.script, executable: true },
      text('job', jobFile(id, description, parts)),
      text('provenance', provenanceFile(parts.provenance)),
      ...parts.runtime.map((file) => ({ name: `${PARTS}/${basename(file)}`, file, executable: true })),
      ...urlFiles(parts.runtimeUrl),
      ...imageFile(description.image),
      ...description.changes.map((file, at) => ({ name: `${PARTS}/changes.${at}`, file })),
      ...description.stageIn.map(inputFile),
    ],
    taskFiles: tasks.map(({ task, inputs }) => [
      text('task', taskFile(id, description, task, inputs)),
      ...inputs.map(inputFile),
    ]),
    script: SCRIPT,
    after: extra.after,
  };
}

/** Programs of a runtime. */
export const RUNTIME_FILES: readonly string[] = ['apppot-start', 'linux', 'linux-smp', 'slirp'];

function urlFiles(folder: string | undefined): readonly SandboxFile[] {
  if (folder === undefined) return [];
  return RUNTIME_FILES.map((name) => ({
    name: `${PARTS}/${name}`,
    url: `${folder.replace(/\/+$/, '')}/${name}`,
    executable: true,
  }));
}

function imageFile(image: string): readonly SandboxFile[] {
  if (image.startsWith('site:')) return [];
  const name = `${PARTS}/apppot.img`;
  return [isUrl(image) ? { name, url: image } : { name, file: image }];
}

function inputFile({ source, name, executable }: StageIn): SandboxFile {
  return {
    name,
    ...(executable === true ? { executable } : {}),
    ...(isUrl(source) ? { url: source } : { file: source }),
  };
}

/** What all tasks share: assignments and functions that apppot-job sources. */
function jobFile(id: string, job: JobDescription, parts: SandboxParts): string {
  const { limit, grace, reserve } = timePlan(job.time, parts.batch);
  const values: Readonly<Record<string, string | number | undefined>> = {
    submission: id,
    memory: job.memory,
    cpus: job.cpus,
    walltime: job.time,
    limit,
    grace,
    reserve,
    scratch: job.scratch,
    stdin: job.stdin,
    stdout: job.stdout,
    stderr: job.stderr,
    changes: job.changes.length,
    runtime: parts.siteRuntime,
    image: job.image.startsWith('site:') ? job.image.slice('site:'.length) : undefined,
  };
  const lines = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${shellQuote(String(value))}`],
  );
  return [
    ...lines,
    forEach(
      'inputs',
      job.stageIn.map(({ name }) => name),
    ),
    forEach(
      'executables',
      job.stageIn.filter(({ executable }) => executable).map(({ name }) => name),
    ),
    forEach('outputs', job.stageOut),
    '',
  ].join('\n');
}

/** A function that calls its arguments with each word: POSIX sh has no arrays. */
function forEach(name: string, words: readonly string[]): string {
  const calls = words.map((word) => `\t"$@" ${shellQuote(word)}`);
  return [`for_${name}() {`, ...(calls.length === 0 ? ['\t:'] : calls), '}'].join('\n');
}

/** How a job ends before its limit is hit hard. Seconds; none where there is no limit. */
export interface TimePlan {
  /** For the program. */
  readonly limit?: number;
  /** From TERM to KILL. */
  readonly grace: number;
  /** From the program's limit to the batch system's. */
  readonly reserve: number;
}

/**
 * Plans the end of a job: under a batch system the program is asked to end early enough for its grace, and for
 * writing down its results.
 */
export function timePlan(time: number | undefined, batch: boolean): TimePlan {
  if (time === undefined) return { grace: 20, reserve: 0 };
  const between = (least: number, value: number, most: number): number =>
    Math.min(most, Math.max(least, Math.floor(value)));
  const grace = between(5, time / 20, 60);
  const reserve = batch ? grace + between(5, time / 60, 30) : 0;
  return { limit: Math.max(1, time - reserve), grace, reserve };
}

/** Words of one task for apppot-start; every word in quotes, which keep all bytes as they are. */
function taskFile(id: string, job: JobDescription, task: JobTask, inputs: readonly StageIn[]): string {
  const env = {
    OMP_NUM_THREADS: String(job.cpus),
    APPPOT_JOB_ID: id,
    ...(task.index === undefined ? {} : { SLURM_ARRAY_TASK_ID: String(task.index) }),
    ...task.env,
  };
  const words = [
    ...Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    '--',
    ...task.program,
  ];
  const modes = inputs
    .filter(({ executable }) => executable)
    .map(({ name }) => `make_executable ${quoteAlways(name)}\n`);
  const fetched = inputs
    .filter(({ source }) => isUrl(source))
    .map(({ name }) => `need_input ${quoteAlways(name)}\n`);
  return `${fetched.join('')}${modes.join('')}set -- ${words.map(quoteAlways).join(' ')}\n`;
}

/** As shellQuote, but `~` and `=` in odd places need no thought. */
function quoteAlways(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function provenanceFile(provenance: SandboxParts['provenance']): string {
  return Object.entries(provenance)
    .map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`)
    .join('');
}
