/** What goes into sandboxes for a target: runtime, script, and what a result can be reproduced by. */
import { join } from 'node:path';
import { packageFile } from '../../config/paths.ts';
import type { Target } from '../../config/targets.ts';
import { ApppotError } from '../../errors.ts';
import { digestOf } from '../../job/digest.ts';
import { RUNTIME_FILES, type SandboxParts } from '../../job/sandbox.ts';
import type { JobDescription } from '../../job/types.ts';
import { findRuntime } from '../../runtime/find.ts';
import { readManifest } from '../../runtime/folder.ts';

/**
 * Finds the parts of a job's sandbox.
 *
 * @throws ApppotError `runtime-missing` when neither the site nor this machine has a runtime
 */
export async function sandboxParts(
  target: Target,
  description: JobDescription,
  signal: AbortSignal,
): Promise<SandboxParts> {
  const base = { script: packageFile('image', 'host', 'apppot-job'), batch: target.type !== 'local' };
  const changes = await Promise.all(description.changes.map((file) => digestOf(file, signal)));
  const provenance = {
    // The site's own is named by the worker, which sees it.
    ...(description.image === 'site:' ? {} : { image: description.image }),
    ...(changes.length === 0 ? {} : { changesSha256: changes }),
  };
  const { runtime } = target;
  const rte = target.type === 'arc' ? target.rte : undefined;
  if (runtime !== undefined && /^https?:\/\//.test(runtime))
    return { ...base, runtime: [], runtimeUrl: runtime, provenance: { ...provenance, runtime } };
  if (runtime !== undefined)
    return {
      ...base,
      runtime: [],
      siteRuntime: runtime.replace(/^site:/, ''),
      provenance: { ...provenance, runtime },
    };
  if (rte !== undefined) return { ...base, runtime: [], provenance: { ...provenance, runtime: rte } };
  const { folder } = await findRuntime();
  const manifest = folder === undefined ? undefined : await readManifest(folder);
  if (folder === undefined)
    throw new ApppotError('runtime-missing', 'There is no built runtime to send along.', {
      hint: 'Build one with "apppot runtime build".',
    });
  return {
    ...base,
    // The kernel for several processors is sent when it is needed.
    runtime: RUNTIME_FILES.filter((name) =>
      description.cpus > 1 ? name !== 'linux' : name !== 'linux-smp',
    ).map((name) => join(folder, name)),
    provenance: {
      ...provenance,
      ...(manifest === undefined ? {} : { runtime: manifest.digest }),
    },
  };
}
