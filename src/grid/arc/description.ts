/** Job descriptions for A-REX, from the templates; each value through its language's own encoder. */
import { readFile } from 'node:fs/promises';
import { packageFile } from '../../config/paths.ts';
import { ApppotError } from '../../errors.ts';
import { OUTCOME, PARTS } from '../../job/names.ts';
import type { SandboxFile, Submission } from '../../job/types.ts';
import type { ArcSettings } from './settings.ts';

export type ArcFormat = 'adl' | 'xrsl';

/** Programs of a runtime. */
const PROGRAMS = ['apppot-start', 'linux', 'linux-smp', 'slirp'];

/** What A-REX is to know of one task. */
export interface ArcJob {
  readonly name: string;
  readonly script: string;
  readonly index: number;
  /** Submission and position, by which a lost answer is found again. */
  readonly submission: string;
  readonly cpus: number;
  /** Memory per processor, MiB: A-REX multiplies. */
  readonly memory: number;
  /** Seconds of wall-clock time. */
  readonly time?: number;
  readonly queue?: string;
  readonly rte?: string;
  readonly files: readonly SandboxFile[];
  readonly outputs: readonly string[];
}

/** Standard output and error of the script itself; the program's own are files of their own. */
export const LOG = `${PARTS}/batch.log`;

/** One task of a submission in ARC's terms. */
export function arcJob(submission: Submission, position: number, settings: ArcSettings): ArcJob {
  const { description, tasks, files, taskFiles, script, id } = submission;
  const index = tasks[position]?.index;
  const total = Math.ceil(
    description.memory * (settings.memoryFactor ?? 1.05) + (settings.memoryOverhead ?? 128),
  );
  const queue = description.partition ?? settings.queue;
  return {
    name: nameAtSite(index === undefined ? description.name : `${description.name}-${index}`),
    script,
    index: index ?? 0,
    submission: markOf(id, position),
    cpus: description.cpus,
    memory: Math.ceil(total / description.cpus),
    ...(description.time === undefined ? {} : { time: description.time }),
    ...(queue === undefined ? {} : { queue }),
    ...(settings.rte === undefined ? {} : { rte: settings.rte }),
    files: [...withRuntime(files, submission, settings), ...(taskFiles[position] ?? [])],
    outputs: outputNames(submission),
  };
}

/** A-REX passes the name through the shell's echo, which makes a new line of "\n": its batch script would break. */
function nameAtSite(name: string): string {
  return name.replaceAll('\\', '/');
}

/** The programs of a runtime by URL, where the target names one, instead of from here. */
function withRuntime(
  files: readonly SandboxFile[],
  { description }: Submission,
  { runtime }: ArcSettings,
): readonly SandboxFile[] {
  if (runtime === undefined || !/^https?:/.test(runtime)) return files;
  const all = PROGRAMS.map((program) => `${PARTS}/${program}`);
  const named = all.filter((name) => files.some((file) => file.name === name));
  const least = all.filter((name) => description.cpus > 1 || !name.endsWith('-smp'));
  const chosen = named.length > 0 ? named : least;
  return [
    ...files.filter(({ name }) => !all.includes(name)),
    ...chosen.map((name) => ({
      name,
      url: `${runtime.replace(/\/+$/, '')}/${name.slice(PARTS.length + 1)}`,
      executable: true,
    })),
  ];
}

/** What a description holds for {@link positionOf} to find. */
export function markOf(id: string, position: number): string {
  return `${id}:${position}`;
}

/** Position of a task of this submission in a text that describes one of its jobs. */
export function positionOf(id: string, text: string): number | undefined {
  const found = new RegExp(`\\b${id}:(\\d{1,7})\\b`).exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** A-REX keeps what is named and removes the rest; it knows no patterns, but "/" for everything. */
function outputNames({ description }: Submission): readonly string[] {
  const { stageOut, stdout, stderr } = description;
  const isPattern = stageOut.some((name) => /[*?[\]]/.test(name));
  return isPattern ? ['/'] : [...new Set([OUTCOME, LOG, stdout, stderr, ...stageOut])];
}

/** @throws ApppotError `target` for a file that only other kinds of targets have */
export async function describeArcJob(
  job: ArcJob,
  format: ArcFormat,
  extra: { readonly delegation?: string; readonly localPaths?: boolean } = {},
): Promise<string> {
  for (const file of job.files)
    if ('site' in file)
      throw new ApppotError('target', `ARC cannot take ${file.site} from the site for a job.`, {
        hint: 'Give it by URL, or ask the site for a runtime environment that has it.',
      });
  const template = await readFile(packageFile('templates', `job.${format}`), 'utf8');
  const values =
    format === 'adl' ? adlValues(job, extra.delegation) : xrslValues(job, extra.localPaths === true);
  const text = template.replace(/@([A-Z_]+)@/g, (whole, name: string) => values[name] ?? whole);
  // Lines of values that are not set.
  return text.replace(/^[ \t]*\n/gm, '');
}

function adlValues(job: ArcJob, delegation: string | undefined): Readonly<Record<string, string>> {
  const tag = (name: string, value: string | number | undefined): string =>
    value === undefined ? '' : `<${name}>${encodeXml(String(value))}</${name}>`;
  const inputs = job.files.map((file) => {
    const source = 'url' in file ? `<Source>${tag('URI', file.url)}</Source>` : '';
    const mode = file.executable === true ? '<IsExecutable>true</IsExecutable>' : '';
    return `<InputFile>${tag('Name', file.name)}${source}${mode}</InputFile>`;
  });
  return {
    NAME: encodeXml(job.name),
    SCRIPT: encodeXml(job.script),
    INDEX: String(job.index),
    LOG: encodeXml(LOG),
    SUBMISSION: encodeXml(job.submission),
    CPUS: String(job.cpus),
    MEMORY_BYTES: String(job.memory * 1024 * 1024),
    TIME: tag('WallTime', job.time),
    RTE: job.rte === undefined ? '' : `<RuntimeEnvironment>${tag('Name', job.rte)}</RuntimeEnvironment>`,
    QUEUE: tag('QueueName', job.queue),
    DELEGATION: tag('nordugrid:DelegationID', delegation),
    INPUTS: inputs.join('\n    '),
    OUTPUTS: job.outputs.map((name) => `<OutputFile>${tag('Name', name)}</OutputFile>`).join('\n    '),
  };
}

function xrslValues(job: ArcJob, localPaths: boolean): Readonly<Record<string, string>> {
  const relation = (name: string, value: string | undefined): string =>
    value === undefined ? '' : `(${name} = ${encodeXrsl(value)})`;
  const source = (file: SandboxFile): string =>
    'url' in file ? file.url : localPaths && 'file' in file ? file.file : '';
  const inputs = job.files.map((file) => `(${encodeXrsl(file.name)} ${encodeXrsl(source(file))})`);
  const executables = job.files.filter(({ executable }) => executable).map(({ name }) => encodeXrsl(name));
  const outputs = job.outputs.filter((name) => name !== LOG).map((name) => `(${encodeXrsl(name)} "")`);
  const inputText = inputs.join('\n               ');
  return {
    NAME: encodeXrsl(job.name),
    SCRIPT: encodeXrsl(job.script),
    INDEX: encodeXrsl(String(job.index)),
    LOG: encodeXrsl(LOG),
    SUBMISSION: encodeXrsl(job.submission),
    CPUS: String(job.cpus),
    MEMORY: String(job.memory),
    TIME: job.time === undefined ? '' : `(wallTime = "${job.time} seconds")`,
    RTE: relation('runTimeEnvironment', job.rte),
    QUEUE: relation('queue', job.queue),
    INPUTS: executables.length === 0 ? inputText : `${inputText})\n (executables = ${executables.join(' ')}`,
    OUTPUTS: outputs.join('\n                '),
  };
}

/** Text of an XML element. @throws ApppotError `usage` for characters that XML 1.0 cannot hold */
export function encodeXml(text: string): string {
  refuseControls(text);
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A string of xRSL: in double quotes, which are doubled within. @throws ApppotError `usage` */
export function encodeXrsl(text: string): string {
  refuseControls(text);
  return `"${text.replaceAll('"', '""')}"`;
}

function refuseControls(text: string): void {
  if (/\p{Cc}|[\uFFFE\uFFFF]|\p{Cs}/u.test(text))
    throw new ApppotError('usage', `${JSON.stringify(text)} holds characters that ARC cannot take.`);
}
