import { parse } from 'ini';
import { readFileSync } from 'node:fs';
import { ApppotError, systemCode } from '../errors.ts';

/** One `key = value` of a settings file. */
export interface IniEntry {
  /** Empty before the first section. */
  readonly section: string;
  readonly key: string;
  /** Undefined for a line that is a word only. */
  readonly value: string | undefined;
  /** For people: `file:line`. */
  readonly place: string;
}

/**
 * Reads a settings file; one that does not exist says nothing. Values follow the usual INI rules: `;` and `#` start a
 * comment, quotes keep blanks.
 *
 * @throws ApppotError `config` when it cannot be read, `config-syntax` for a section that does not end
 */
export function readIniFile(file: string): IniEntry[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return [];
    throw new ApppotError('config', `Cannot read ${file}.`, { cause: error });
  }
  let section = '';
  const entries: IniEntry[] = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const place = `${file}:${at + 1}`;
    if (/^\s*\[/.test(line)) {
      const name = /^\s*\[([^\]]*)\]\s*(?:[;#].*)?$/.exec(line)?.[1];
      if (name === undefined)
        throw new ApppotError('config-syntax', `${place}: "${line.trim()}" is no section: [name].`);
      section = name.trim().replace(/\s+/g, ' ');
      entries.push({ section, key: '', value: '', place });
      continue;
    }
    // Line by line: the library knows the rules for values, and not where it found them.
    for (const [key, value] of Object.entries(parse(line)))
      entries.push({ section, key, value: line.includes('=') ? String(value) : undefined, place });
  }
  return entries;
}
