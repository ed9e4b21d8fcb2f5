/**
 * Job files: INI with the names of the options. A value is everything behind the first `=`, as it stands: quotes,
 * `#` and `;` in it are the program's own (the `ini` package would take them away, hence this reader).
 */
import { didYouMean } from '../config/nearest.ts';
import { ApppotError } from '../errors.ts';

/** Values by option name; options that may be repeated have several. */
export type Values = ReadonlyMap<string, readonly string[]>;

/**
 * Reads a job file.
 *
 * @param known names that may stand in it
 * @throws ApppotError `config-syntax` for a line that is none, `usage` for an unknown name; the line is named
 */
export function parseJobFile(text: string, file: string, known: readonly string[]): Values {
  const values = new Map<string, string[]>();
  let section = 'job';
  text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .forEach((raw, at) => {
      const line = raw.trim();
      if (line === '' || line.startsWith('#') || line.startsWith(';')) return;
      const head = /^\[\s*([^\]]*?)\s*\]$/.exec(line);
      if (head !== null) {
        section = head[1] ?? '';
        if (section !== 'job') throw unknown(file, at, 'section', section, ['job']);
        return;
      }
      const equals = line.indexOf('=');
      if (equals <= 0)
        throw new ApppotError('config-syntax', `${file}:${at + 1}: "${line}" is no line "name = value".`);
      const name = line.slice(0, equals).trim();
      if (!known.includes(name)) throw unknown(file, at, 'option', name, known);
      values.set(name, [...(values.get(name) ?? []), line.slice(equals + 1).trim()]);
    });
  return values;
}

function unknown(
  file: string,
  at: number,
  what: string,
  name: string,
  known: readonly string[],
): ApppotError {
  return new ApppotError('usage', `${file}:${at + 1}: there is no ${what} "${name}".`, {
    hint: `${didYouMean(name, known)}Known: ${known.join(', ')}.`,
  });
}

/**
 * Splits a command into words as a shell does, with quotes and backslashes, and nothing else of a shell.
 *
 * @throws ApppotError `usage` for a quote that does not end
 */
export function splitWords(command: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  const pattern = /\s+|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)|(.)/gsu;
  for (const match of command.matchAll(pattern)) {
    const [whole, single, double, escaped, plain, stray] = match;
    if (stray !== undefined)
      throw new ApppotError('usage', `A quote in the command does not end: ${command}`);
    const part = single ?? double?.replace(/\\(["\\$`])/g, '$1') ?? escaped ?? plain;
    if (part === undefined) {
      if (word !== undefined) words.push(word);
      word = undefined;
      if (/\S/.test(whole)) throw new ApppotError('usage', `Cannot split the command: ${command}`);
    } else {
      word = (word ?? '') + part;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
