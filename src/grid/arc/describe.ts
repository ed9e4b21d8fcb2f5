/** Job descriptions for ARC from templates/: ADL (EMI-ES Activity Description Language) and xRSL. */
import { readFile } from 'node:fs/promises';
import { packageFile } from '../../config/paths.ts';
import { ApppotError } from '../../errors.ts';
import { PARTS } from '../../job/names.ts';
import type { Submission } from '../../job/types.ts';

/** A-REX writes what the batch job itself says into this file of the job's folder. */
export const LOG = `${PARTS}/batch.log`;

/** An input as A-REX sees it: sent by the client, or fetched (and cached) by the site. */
export interface ArcInput {
  readonly name: string;
  readonly url?: string | undefined;
  /** A-REX copies what it fetched for such a file; others are links into its cache, which no job can change. */
  readonly executable?: boolean | undefined;
}

/** What the target's settings say about every job. */
export interface ArcNeeds {
  readonly queue?: string | undefined;
  /** Memory of the whole job in MiB, with what the launch itself needs. */
  readonly memory: number;
  readonly rte?: string | undefined;
  readonly delegation?: string | undefined;
}

/** A name for {@link Submission.tasks}[position] that travels with the job and that {@link parseTag} reads back. */
export function tagOf(submission: Submission, position: number): string {
  return `${submission.id}.${position}`;
}

/** Submission and position from a description that A-REX has kept. */
export function parseTag(description: string): { id: string; position: number } | undefined {
  const match = /<Annotation>(apppot-[0-9a-f]{16})\.(\d+)<\/Annotation>/.exec(description);
  return match === null ? undefined : { id: match[1] ?? '', position: Number(match[2]) };
}

/** The job description of one task, in the form that a bulk submission joins. */
export async function describeAdl(
  submission: Submission,
  position: number,
  inputs: readonly ArcInput[],
  needs: ArcNeeds,
): Promise<string> {
  const { description } = submission;
  const values = {
    NAME: xml(description.name),
    TAG: xml(tagOf(submission, position)),
    SCRIPT: xml(submission.script),
    INDEX: xml(String(submission.tasks[position]?.index ?? 0)),
    LOG: xml(LOG),
    RUNTIME:
      needs.rte === undefined
        ? ''
        : `<RuntimeEnvironment><Name>${xml(needs.rte)}</Name></RuntimeEnvironment>`,
    MEMORY_BYTES: String(memoryPerCore(description.cpus, needs.memory) * 1_048_576),
    WALL_TIME: description.time === undefined ? '' : `<WallTime>${description.time}</WallTime>`,
    CPUS: String(description.cpus),
    QUEUE: needs.queue === undefined ? '' : `<QueueName>${xml(needs.queue)}</QueueName>`,
    DELEGATION:
      needs.delegation === undefined
        ? ''
        : `<nordugrid-adl:DelegationID>${xml(needs.delegation)}</nordugrid-adl:DelegationID>`,
    INPUTS: inputs
      .map(({ name, url, executable }) => {
        const source = url === undefined ? '' : `<Source><URI>${xml(url)}</URI></Source>`;
        const mode = executable === true ? '<IsExecutable>true</IsExecutable>' : '';
        return `<InputFile><Name>${xml(name)}</Name>${source}${mode}</InputFile>`;
      })
      .join('\n    '),
  };
  return fill('job.adl', values);
}

/**
 * The same as xRSL, for ARC's own client: inputs that the client sends are named as files here.
 *
 * @param here path of an input that arcsub is to send
 */
export async function describeXrsl(
  submission: Submission,
  position: number,
  inputs: readonly ArcInput[],
  needs: ArcNeeds,
  here: (name: string) => string = (name) => name,
): Promise<string> {
  const { description } = submission;
  const executables = inputs.filter(({ executable }) => executable).map(({ name }) => rsl(name));
  const pairs = inputs.map(({ name, url }) => `(${rsl(name)} ${rsl(url ?? here(name))})`);
  const values = {
    NAME: rsl(description.name),
    SCRIPT: rsl(submission.script),
    INDEX: rsl(String(submission.tasks[position]?.index ?? 0)),
    LOG: rsl(LOG),
    INPUTS: pairs.join('\n  '),
    EXECUTABLES: executables.length === 0 ? '' : `(executables=${executables.join(' ')})`,
    CPUS: String(description.cpus),
    MEMORY_MB: String(memoryPerCore(description.cpus, needs.memory)),
    // Seconds: a bare number would be minutes.
    WALL_TIME: description.time === undefined ? '' : `(wallTime=${rsl(`${description.time} seconds`)})`,
    RUNTIME: needs.rte === undefined ? '' : `(runTimeEnvironment=${rsl(needs.rte)})`,
    QUEUE: needs.queue === undefined ? '' : `(queue=${rsl(needs.queue)})`,
  };
  return fill('job.xrsl', values);
}

/** A-REX hands memory on to the batch system for each slot. */
function memoryPerCore(cpus: number, memory: number): number {
  return Math.ceil(memory / cpus);
}

/** Text for XML 1.0; characters that XML has no way to write are refused. */
function xml(text: string): string {
  // eslint-disable-next-line no-control-regex -- that is what XML leaves out
  if (/[\u0000-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]|[\uD800-\uDFFF](?![\uDC00-\uDFFF])/u.test(text))
    throw new ApppotError('usage', `${JSON.stringify(text)} holds characters that a job description cannot.`);
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
  };
  return text
    .replace(/[&<>"]/g, (character) => entities[character] ?? '')
    .replace(/[\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A string of xRSL: in double quotes, which are doubled inside (Globus RSL 1.0, "quoted-literal"). */
function rsl(text: string): string {
  if (/[\p{Cc}]/u.test(text))
    throw new ApppotError('usage', `${JSON.stringify(text)} holds characters that xRSL cannot.`);
  return `"${text.replaceAll('"', '""')}"`;
}

async function fill(template: string, values: Readonly<Record<string, string>>): Promise<string> {
  const text = await readFile(packageFile('templates', template), 'utf8');
  const filled = text.replace(/@([A-Z_]+)@/g, (whole, name: string) => values[name] ?? whole);
  return filled.replace(/^[ \t]*\n/gm, '');
}
