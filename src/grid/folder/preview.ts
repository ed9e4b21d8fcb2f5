/** What a submission would send, as text for people. */
import type { SandboxFile, Submission } from '../../job/types.ts';

/**
 * Every file of a sandbox by name: texts as they are, others by what they are copies of.
 *
 * @param further what the backend adds
 */
export function previewSandbox(
  submission: Submission,
  further: Readonly<Record<string, string>>,
): ReadonlyMap<string, string> {
  const shown = new Map<string, string>(Object.entries(further));
  for (const file of submission.files) shown.set(file.name, describe(file));
  submission.taskFiles.forEach((files, position) => {
    const index = submission.tasks[position]?.index;
    const suffix = index === undefined ? '' : ` (task ${index})`;
    for (const file of files) shown.set(`${file.name}${suffix}`, describe(file));
  });
  return shown;
}

function describe(file: SandboxFile): string {
  if ('content' in file) return Buffer.from(file.content).toString();
  if ('url' in file) return `fetched by the site from ${file.url}`;
  if ('site' in file) return `${file.site} at the site`;
  return `copy of ${file.file}`;
}
