import { readlink } from 'node:fs/promises';
import { runAttached } from '../process/attached.ts';
import { findGuest } from './guests.ts';

/**
 * Speaks with the supervisor of a running guest through the door in its run folder, on this process' own
 * streams.
 *
 * @param id name or process id of the guest
 * @param words what to ask: `--ask stop`, or `--` and a program
 * @returns the exit code of the program, 0 for a question that was answered
 * @throws ApppotError `not-found`
 */
export async function lookInto(id: string, words: readonly string[]): Promise<number> {
  const guest = await findGuest(id);
  // The supervisor's own program: it speaks the protocol of its own version.
  const program = await readlink(`/proc/${guest.pid}/exe`);
  return runAttached(program, ['--name', 'apppot', '--exec', guest.runFolder, ...words], {
    env: process.env,
  });
}
