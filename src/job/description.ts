/** From options, job file and settings to what a job is to do. */
import { readFile, stat } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import * as v from 'valibot';
import { ApppotError, systemCode } from '../errors.ts';
import { parseArray } from './array.ts';
import { parseJobFile, splitWords, type Values } from './job-file.ts';
import { checkName } from './names.ts';
import { JOB_OPTIONS } from './options.ts';
import { distinct, filesAmong, parseStageIn } from './stage.ts';
import { fillIn, parseSweep, type Row } from './sweep.ts';
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

/** Linux takes one argument of up to 128 KiB, and 2 MiB in all (execve(2)). */
const MAX_WORD = 128 * 1024 - 1;
const MAX_WORDS = 1024 * 1024;

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
  const rows = await taskRows(last('array'), last('sweep'), folder);
  const tasks = rows.rows.map(({ index, row }): JobTask => ({
    ...(index === undefined ? {} : { index }),
    program: [fillIn(first, row), ...rest.map((word) => fillIn(word, row))],
    env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, fillIn(value, row)])),
  }));
  tasks.forEach(checkLength);
  const stdin = last('stdin');
  const stageIn = [
    ...(await parseStageIn(values.get('stage-in') ?? [], folder)),
    ...(stdin === undefined ? [] : await parseStageIn([stdin], folder)),
  ];
  const perTask = autoStage
    ? await Promise.all(tasks.map((task) => filesAmong(task.program, folder)))
    : tasks.map(() => []);
  const { shared, single } = splitInputs(stageIn, perTask);
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
      ...(stdin === undefined ? {} : { stdin: (await parseStageIn([stdin], folder))[0]?.name ?? stdin }),
      stdout: checkName(last('stdout') ?? 'stdout.txt', '--stdout'),
      stderr: checkName(last('stderr') ?? 'stderr.txt', '--stderr'),
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
    ...(rows.parallel === undefined ? {} : { parallel: rows.parallel }),
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
    if (found !== undefined) env[name] = found;
  }
  return env;
}

async function taskRows(
  array: string | undefined,
  sweep: string | undefined,
  folder: string,
): Promise<{ rows: readonly { index?: number; row: Row }[]; parallel?: number }> {
  if (sweep !== undefined) {
    // --array beside a sweep chooses rows.
    const file = isAbsolute(sweep) ? sweep : join(folder, sweep);
    const all = parseSweep(await readText(file, 'sweep'), sweep).map((row, at) => ({ index: at + 1, row }));
    if (array === undefined) return { rows: all };
    const { indices, parallel } = parseArray(array);
    const wanted = new Set(indices);
    const chosen = all.filter(({ index }) => wanted.has(index));
    if (chosen.length < indices.length)
      throw new ApppotError('usage', `${sweep} has ${all.length} rows, and --array asks for others.`);
    return { rows: chosen, ...(parallel === undefined ? {} : { parallel }) };
  }
  if (array === undefined) return { rows: [{ row: {} }] };
  const { indices, parallel } = parseArray(array);
  return {
    rows: indices.map((index) => ({ index, row: {} })),
    ...(parallel === undefined ? {} : { parallel }),
  };
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

function checkLength(task: JobTask): void {
  const words = [...task.program, ...Object.entries(task.env).map(([name, value]) => `${name}=${value}`)];
  const sizes = words.map((word) => Buffer.byteLength(word));
  if (words.some((word) => word.includes('\0')))
    throw new ApppotError('usage', 'An argument holds a NUL, which no program can be given.');
  if (Math.max(...sizes) > MAX_WORD || sizes.reduce((sum, size) => sum + size, 0) > MAX_WORDS)
    throw new ApppotError('usage', 'The arguments are longer than Linux can give to a program.', {
      hint: 'Put them into a file, and send it with --stage-in.',
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

async function readText(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const missing = systemCode(cause) === 'ENOENT';
    throw new ApppotError(missing ? 'not-found' : 'permission', `Cannot read the ${what} ${file}.`, {
      cause,
    });
  }
}
