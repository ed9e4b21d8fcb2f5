/** From options, job file and settings to what a job is to do. */
import { stat } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import * as v from 'valibot';
import { ApppotError } from '../errors.ts';
import { parseJobFile, splitWords, type Values } from './job-file.ts';
import { checkName, isUrl } from './names.ts';
import { JOB_OPTIONS } from './options.ts';
import { distinct, filesAmong, parseStageIn } from './stage.ts';
import { readText } from './read-text.ts';
import { makeTasks } from './tasks.ts';
import type { JobDescription, JobTask, StageIn } from './types.ts';
import { parseSize, parseTime } from './units.ts';

/** What the user asked for: the job, its tasks, and where and after what it is to run. */
export interface JobRequest {
  readonly description: JobDescription;
  readonly tasks: readonly JobTask[];
  /** Inputs of single tasks, by position in `tasks`. */
  readonly taskInputs: readonly (readonly StageIn[])[];
  readonly parallel?: number;
  readonly to?: string;
  readonly after: readonly { readonly when: 'ok' | 'any'; readonly job: string }[];
}

/** What stands behind the options: settings, or what a target says. */
export interface Defaults {
  readonly image?: string | undefined;
  readonly mem?: string | undefined;
  readonly cpus?: number | undefined;
  readonly partition?: string | undefined;
  readonly account?: string | undefined;
}

const line = v.pipe(
  v.string(),
  v.minLength(1, 'must not be empty'),
  v.maxLength(200, 'is too long'),
  v.regex(/^\P{Cc}+$/u, 'must be one line without control characters'),
);
const number = (least: number, most: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,9}$/, 'must be a whole number'),
    v.transform(Number),
    v.minValue(least, `must be at least ${least}`),
    v.maxValue(most, `must be at most ${most}`),
  );

const SIMPLE = v.object({
  name: v.optional(line),
  to: v.optional(line),
  image: v.optional(line),
  partition: v.optional(line),
  account: v.optional(line),
  cpus: v.optional(number(1, 1024)),
  retry: v.optional(number(0, 100)),
});

/**
 * Reads a job file.
 *
 * @throws ApppotError `not-found`, `config-syntax`, `usage`
 */
export async function readJobFile(file: string): Promise<Values> {
  return parseJobFile(
    await readText(file, 'job file'),
    file,
    JOB_OPTIONS.map(({ name }) => name),
  );
}

/** Options over a job file: a name that is given on the command line replaces all of the file's values of it. */
export function mergeValues(options: Values, file: Values): Values {
  return new Map([...file, ...options]);
}

/**
 * Brings everything together.
 *
 * @param values options by name
 * @param program program and arguments of the command line; they win over `command`
 * @param autoStage also send files that the command names
 * @throws ApppotError `usage` with the option that is wrong, `not-found` for a file that is not there
 */
export async function describeJob(
  values: Values,
  program: readonly string[],
  defaults: Defaults,
  { folder = process.cwd(), autoStage = true, environment = process.env } = {},
): Promise<JobRequest> {
  const last = (name: string): string | undefined => values.get(name)?.at(-1);
  const simple = checkSimple(last);
  const words = program.length > 0 ? program : splitWords(last('command') ?? '');
  const [first, ...rest] = words;
  if (first === undefined)
    throw new ApppotError('usage', 'There is no program to run.', {
      hint: 'Name it behind "--": apppot submit -- ./my-program input.dat',
    });
  const image = simple.image ?? defaults.image ?? (await imageHere(folder));
  if (image === undefined)
    throw new ApppotError('usage', 'There is no image.', {
      hint: 'Give --image, set run.image in apppot.ini or image in the target, or make one with "apppot build-image".',
    });
  const env = parseEnv(values.get('env') ?? [], environment);
  const { tasks, parallel } = await makeTasks([first, ...rest], env, {
    array: last('array'),
    sweep: last('sweep'),
    folder,
  });
  const stdin = last('stdin');
  const inputs = stdin === undefined ? [] : await parseStageIn([stdin], folder);
  if (inputs.length > 1) throw new ApppotError('usage', `--stdin takes a file, and ${stdin} is a folder.`);
  const stageIn = [...(await parseStageIn(values.get('stage-in') ?? [], folder)), ...inputs];
  const perTask = autoStage
    ? await Promise.all(tasks.map((task) => filesAmong(task.program, folder)))
    : tasks.map(() => []);
  const { shared, single } = splitInputs(stageIn, perTask);
  const stdout = checkName(last('stdout') ?? 'stdout.txt', '--stdout');
  const stderr = checkName(last('stderr') ?? 'stderr.txt', '--stderr');
  for (const { name } of [...shared, ...single.flat()]) checkOverwritten(name, stdout, stderr);
  tasks.forEach((task, at) => {
    checkProgram(task.program[0], [...shared, ...(single[at] ?? [])]);
  });
  const time = last('time');
  const scratch = last('scratch');
  const partition = simple.partition ?? defaults.partition;
  const account = simple.account ?? defaults.account;
  return {
    description: {
      name:
        simple.name ??
        (basename(first)
          .replace(/\p{Cc}/gu, '?')
          .slice(0, 100) ||
          'job'),
      program: [first, ...rest],
      env,
      image: /^(?:site:|https?:\/\/)/.test(image) ? image : await existing(image, folder, '--image'),
      changes: await Promise.all(
        (values.get('changes') ?? []).map((file) => existing(file, folder, '--changes')),
      ),
      stageIn: shared,
      stageOut: (values.get('stage-out') ?? ['*']).map((pattern) => checkName(pattern, '--stage-out')),
      ...(stdin === undefined ? {} : { stdin: inputs[0]?.name ?? stdin }),
      stdout,
      stderr,
      cpus: simple.cpus ?? defaults.cpus ?? 1,
      memory: parseSize(last('mem') ?? defaults.mem ?? '1G', '--mem'),
      ...(time === undefined ? {} : { time: parseTime(time) }),
      ...(scratch === undefined ? {} : { scratch: parseSize(scratch, '--scratch') }),
      ...(partition === undefined ? {} : { partition }),
      ...(account === undefined ? {} : { account }),
      retry: simple.retry ?? 0,
    },
    tasks,
    taskInputs: single,
    ...(parallel === undefined ? {} : { parallel }),
    ...(simple.to === undefined ? {} : { to: simple.to }),
    after: (values.get('dependency') ?? []).flatMap(parseDependency),
  };
}

function checkSimple(last: (name: string) => string | undefined): v.InferOutput<typeof SIMPLE> {
  const given = Object.fromEntries(
    Object.keys(SIMPLE.entries).flatMap((name) => {
      const value = last(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
  const result = v.safeParse(SIMPLE, given);
  if (result.success) return result.output;
  const problems = result.issues.map(
    (issue) => `--${v.getDotPath(issue) ?? ''} ${issue.message}, not ${JSON.stringify(issue.input)}.`,
  );
  throw new ApppotError('usage', problems.join('\n'));
}

function parseEnv(texts: readonly string[], environment: NodeJS.ProcessEnv): Record<string, string> {
  const env: Record<string, string> = {};
  for (const text of texts) {
    const [, name = '', value] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(text) ?? [];
    if (name === '') throw new ApppotError('usage', `--env takes NAME or NAME=VALUE, not "${text}".`);
    const found = value ?? environment[name];
    // What Node.js makes of bytes that are no UTF-8: the job would get other ones.
    if (value === undefined && found?.includes('\uFFFD') === true)
      throw new ApppotError('usage', `--env ${name}: its value is not UTF-8.`);
    if (found !== undefined) env[name] = found;
  }
  return env;
}

/** A program of the job folder has to be among what is sent: said here, and not by a code 127 from far away. */
function checkProgram(program: string, inputs: readonly StageIn[]): void {
  const parts = program.split('/').filter((part) => part !== '' && part !== '.');
  if (!program.includes('/') || program.startsWith('/') || parts.includes('..')) return;
  const input = inputs.find(({ name }) => name === parts.join('/'));
  if (input === undefined)
    throw new ApppotError('not-found', `There is no program ${program} here, nor among the inputs.`, {
      hint: 'A program of the image is named without "./", or with its whole path there.',
    });
  if (input.executable !== true && !isUrl(input.source))
    throw new ApppotError('usage', `${program} is not executable.`, {
      hint: `chmod +x ${program}, or name its interpreter: python3 ${program}`,
    });
}

/** The outputs are opened before the program starts: an input of the same name would be empty. */
function checkOverwritten(name: string, stdout: string, stderr: string): void {
  const option = name === stdout ? '--stdout' : name === stderr ? '--stderr' : undefined;
  if (option !== undefined)
    throw new ApppotError('usage', `The input ${name} has the name of an output of the job.`, {
      hint: `Give the output another name (${option} NAME), or the input (--stage-in FILE=NAME).`,
    });
}

/** What every task names goes with all of them; the rest with its own task. */
function splitInputs(
  given: readonly StageIn[],
  perTask: readonly (readonly StageIn[])[],
): { shared: readonly StageIn[]; single: readonly (readonly StageIn[])[] } {
  const names = new Map<string, number>();
  for (const inputs of perTask) for (const { name } of inputs) names.set(name, (names.get(name) ?? 0) + 1);
  const isCommon = ({ name }: StageIn): boolean => names.get(name) === perTask.length;
  const chosen = new Set(given.map(({ name }) => name));
  return {
    shared: distinct([
      ...given,
      ...(perTask[0] ?? []).filter((one) => isCommon(one) && !chosen.has(one.name)),
    ]),
    single: perTask.map((inputs) => inputs.filter((one) => !isCommon(one) && !chosen.has(one.name))),
  };
}

function parseDependency(text: string): { when: 'ok' | 'any'; job: string }[] {
  return text.split(',').flatMap((part) => {
    const [, when = '', jobs = ''] = /^after(ok|any):(.+)$/.exec(part) ?? [];
    if (when === '')
      throw new ApppotError('usage', `"${part}" is no dependency.`, {
        hint: 'afterok:JOB starts when JOB succeeded, afterany:JOB when it ended.',
      });
    return jobs.split(':').map((job) => ({ when: when as 'ok' | 'any', job }));
  });
}

/** What "apppot build-image" makes and "apppot run" takes when nobody says otherwise. */
async function imageHere(folder: string): Promise<string | undefined> {
  const status = await stat(join(folder, 'apppot.img')).catch(() => undefined);
  return status?.isFile() === true ? 'apppot.img' : undefined;
}

async function existing(file: string, folder: string, option: string): Promise<string> {
  const path = isAbsolute(file) ? file : join(folder, file);
  const status = await stat(path).catch(() => undefined);
  if (status?.isFile() !== true)
    throw new ApppotError('not-found', `${option}: there is no file ${file}.`, {
      hint: option === '--image' ? 'site:PATH names an image that the site has.' : undefined,
    });
  return path;
}
