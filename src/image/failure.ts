/** Turns a failed build into one sentence and a hint, by its status file and its log. */
import { readFile } from 'node:fs/promises';
import { ApppotError, type ErrorCode } from '../errors.ts';
import { formatSize } from './size.ts';
import { endedModules } from './status.ts';

/** Exit codes of modules with a meaning (modules/apppot, image/build/pack.sh). */
const SCRIPT_FAILED = 3;
const IMAGE_FULL = 4;

/** How much of the log a message repeats. */
const TAIL_LINES = 8;

/** What {@link explainFailure} looks at. */
export interface FailedBuild {
  readonly statusFile: string;
  readonly logFile: string;
  readonly codename: string;
  readonly sizeMebibytes: number;
}

/**
 * The error of a build in which a module failed, or undefined when none did.
 *
 * @param build where its records are
 */
export async function explainFailure(build: FailedBuild): Promise<ApppotError | undefined> {
  const failed = (await endedModules(build.statusFile)).find(({ code }) => code !== 0);
  if (failed === undefined) return undefined;
  const log = await readFile(build.logFile, 'utf8').catch(() => '');
  const hint = `The whole log: ${build.logFile}`;
  const fail = (code: ErrorCode, message: string, advice = hint): ApppotError =>
    new ApppotError(code, message, { hint: advice });
  if (failed.code === SCRIPT_FAILED) {
    const match = /^=== script (.*) ended with code (\d+)$/m.exec(log);
    if (match !== null) {
      const lines = log
        .slice(log.lastIndexOf(`=== script ${match[1] ?? ''}\n`))
        .split('\n')
        .slice(1);
      const said = tail(lines.filter((line) => !line.startsWith('=== ')).join('\n'));
      return fail(
        'script-failed',
        `The script ${match[1] ?? ''} ended with code ${match[2] ?? ''}:\n${said}`,
      );
    }
  }
  if (failed.code === IMAGE_FULL) {
    const needed = Number(/^=== image full: (\d+)$/m.exec(log)?.[1] ?? 0);
    return fail(
      'image-full',
      `The system does not fit into an image of ${formatSize(build.sizeMebibytes)}; it needs ${formatSize(needed)}.`,
      `Give --size ${needed}M, or more to have room for work.`,
    );
  }
  const missing =
    /^E: Unable to locate package (\S+)$/m.exec(log) ??
    /^E: Package '([^']+)' has no installation/m.exec(log);
  if (missing !== null)
    return fail(
      'image-build',
      `Debian ${build.codename} has no package "${missing[1] ?? ''}".`,
      'Search for the right name with "apt search".',
    );
  const version = /^E: Version '([^']+)' for '([^']+)' was not found$/m.exec(log);
  if (version !== null)
    return fail(
      'image-build',
      `Debian ${build.codename} has no version ${version[1] ?? ''} of ${version[2] ?? ''}.`,
    );
  if (/No space left on device/.test(log))
    return fail(
      'no-space',
      'The disk with the scratch folder is full.',
      'Set TMPDIR to a folder with three times the size of the system.',
    );
  if (
    /Could not resolve|Temporary failure resolving|Could not connect|Connection (timed out|failed)|Failed to fetch/.test(
      log,
    )
  )
    return fail('mirror', `A mirror did not answer during the build:\n${tail(matching(log, /^[EW]: /))}`);
  return fail('module-failed', `The module ${failed.name} ended with code ${failed.code}:\n${tail(log)}`);
}

function matching(text: string, pattern: RegExp): string {
  return text
    .split('\n')
    .filter((line) => pattern.test(line))
    .join('\n');
}

function tail(text: string): string {
  return text.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
}
