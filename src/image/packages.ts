/** Package sets: text files with one Debian package per line, comments, and `@other` for a whole other set. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import { suggestion } from './suggest.ts';

/**
 * The packages of a set, sorted, each once.
 *
 * @param name a set of image/packages
 * @throws ApppotError `config` when there is no such set
 */
export async function packageSet(name: string): Promise<readonly string[]> {
  const folder = packageFile('image', 'packages');
  const known = (await readdir(folder))
    .filter((file) => file.endsWith('.txt'))
    .map((file) => file.slice(0, -'.txt'.length));
  if (!known.includes(name))
    throw new ApppotError('config', `There is no package set "${name}".`, { hint: suggestion(name, known) });
  const packages = new Set<string>();
  const words = (await readFile(join(folder, `${name}.txt`), 'utf8'))
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '');
  for (const word of words) {
    if (word.startsWith('@')) for (const inner of await packageSet(word.slice(1))) packages.add(inner);
    else packages.add(checkPackageName(word));
  }
  return [...packages].sort();
}

/**
 * Splits a list with commas or white space into package names.
 *
 * @throws ApppotError `usage` for a word that cannot be a package
 */
export function packageList(text: string): readonly string[] {
  return text
    .split(/[\s,]+/)
    .filter((word) => word !== '')
    .map(checkPackageName);
}

/** A name, or name=version, or name/suite: what apt-get install takes. Debian Policy 5.6.1 for the name itself. */
function checkPackageName(word: string): string {
  if (!/^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+|\/[a-z0-9-]+)?$/.test(word))
    throw new ApppotError('usage', `"${word}" is not the name of a Debian package.`, {
      hint: 'Names have lower case letters, digits, and + - . only; several are separated by commas.',
    });
  return word;
}
