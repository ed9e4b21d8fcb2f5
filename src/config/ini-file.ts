import { parse } from 'ini';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
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
  const text = readText(file);
  if (text === undefined) return [];
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

/** True for the file of the folder where we are, which others may have written. */
export function isProjectFile(file: string): boolean {
  return !isAbsolute(file);
}

function readText(file: string): string | undefined {
  let handle: number | undefined;
  try {
    handle = openSync(file, 'r');
    if (isProjectFile(file)) checkOwner(file, fstatSync(handle));
    return readFileSync(handle, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined;
    if (error instanceof ApppotError) throw error;
    throw new ApppotError('config', `Cannot read ${file}.`, { cause: error });
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** In /tmp, or in a folder of a group, anybody can leave settings that start programs of theirs as us. */
function checkOwner(file: string, status: { uid: number; gid: number; mode: number }): void {
  const [me, group] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  const problem =
    status.uid !== me && status.uid !== 0
      ? 'belongs to somebody else'
      : (status.mode & 0o002) !== 0 || ((status.mode & 0o020) !== 0 && status.gid !== group)
        ? 'can be written by others'
        : undefined;
  if (problem !== undefined)
    throw new ApppotError('config', `${file} in this folder ${problem}: its settings are not used.`, {
      hint: 'Work in a folder of your own, or remove the file; what you need of it can go into ~/.config/apppot/apppot.ini.',
    });
}
