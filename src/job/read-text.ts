import { readFile } from 'node:fs/promises';
import { ApppotError, systemCode } from '../errors.ts';

/**
 * Reads a text file that the user named.
 *
 * @param what the file is, for the message
 * @throws ApppotError `not-found`, `permission`
 */
export async function readText(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const missing = systemCode(cause) === 'ENOENT';
    throw new ApppotError(missing ? 'not-found' : 'permission', `Cannot read the ${what} ${file}.`, {
      cause,
    });
  }
}
