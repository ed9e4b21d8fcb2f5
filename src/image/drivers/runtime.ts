/** Finds kernel and helper for driver uml. */
import { ApppotError } from '../../errors.ts';
import { findRuntime } from '../../runtime/find.ts';
import type { BuildRuntime } from './uml.ts';

/** The runtime's kernel and helper, or one sentence why they cannot be used. */
export async function findBuildRuntime(): Promise<BuildRuntime | string> {
  try {
    const { kernel, helper } = await findRuntime();
    if (helper === undefined) return 'there is no built runtime ("apppot runtime build" makes one)';
    return { linux: kernel, slirp: helper };
  } catch (error) {
    if (error instanceof ApppotError && error.code === 'runtime-missing')
      return error.message.replace(/\.$/, '');
    throw error;
  }
}
