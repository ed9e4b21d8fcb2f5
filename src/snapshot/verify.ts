/** Changes files and layers on this machine: are they whole, what is in them? */
import { access, constants } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { ApppotError, systemCode } from '../errors.ts';
import { runEngine, type Summary } from './engine.ts';
import { isLayer, verifyLayer } from './layer-file.ts';

/**
 * Reads a changes file or layer to its end.
 *
 * @returns at least its base
 * @throws ApppotError `archive` when it is damaged, truncated or holds what it may not; `not-found`; `runtime-missing`
 */
export async function verifyFile(file: string, signal: AbortSignal): Promise<Summary> {
  await readable(file);
  if (await isLayer(file)) return verifyLayer(file, signal);
  const { summary } = await runEngine(['--json', 'verify', '--', file], `Checking ${file}`, signal);
  return summary ?? {};
}

/**
 * Lists a changes file like a diff, into a stream: the list of a million files is never held in memory.
 *
 * @param words options of `apppot-snap inspect`
 * @throws ApppotError as {@link verifyFile}
 */
export async function inspectFile(
  file: string,
  words: readonly string[],
  output: Writable,
  signal: AbortSignal,
): Promise<void> {
  await readable(file);
  if (await isLayer(file))
    throw new ApppotError('archive', `${file} is a layer, made to be mounted.`, {
      hint: 'Inspect the changes file that it was made of.',
    });
  await runEngine([...words, 'inspect', '--', file], `Listing ${file}`, signal, output);
}

async function readable(file: string): Promise<void> {
  await access(file, constants.R_OK).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') throw new ApppotError('not-found', `There is no file ${file}.`);
    throw new ApppotError('permission', `${file} cannot be read.`, { cause: error });
  });
}
