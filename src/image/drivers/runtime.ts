/** Finds kernel and helper for driver uml. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { BuildRuntime } from './uml.ts';

/** The runtime's kernel and helper, or one sentence why they cannot be used. */
export async function findBuildRuntime(): Promise<BuildRuntime | string> {
  const folder = process.env['APPPOT_RUNTIME'] ?? '';
  const runtime = { linux: join(folder, 'linux'), slirp: join(folder, 'slirp') };
  try {
    await access(runtime.linux, constants.X_OK);
    await access(runtime.slirp, constants.X_OK);
    return runtime;
  } catch {
    return 'there is no runtime yet';
  }
}
