/** Reads rootstrap.conf, the format of rootstrap(1). */
import { readFile } from 'node:fs/promises';
import { ApppotError, systemCode } from '../errors.ts';

/** One value and where it was written, for error messages. */
export interface ConfValue {
  readonly value: string;
  readonly file: string;
  readonly line: number;
}

/** One section: its options, and where it begins. */
export interface ConfSection {
  readonly options: Map<string, ConfValue>;
  readonly file: string;
  readonly line: number;
}

/** A whole configuration: sections by name. */
export type Conf = Map<string, ConfSection>;

/**
 * Parses the text of one configuration file: sections `[name]`, options `name=value`, comments that begin with `#`
 * at the start of a line, and values that go on over lines that begin with white space. Such a line that is a
 * comment is left out, as in the original's own examples.
 *
 * @param text the file's content
 * @param file its name, for messages
 * @throws ApppotError `config-syntax` with file and line
 * @see rootstrap(1)
 */
export function parseConf(text: string, file: string): Conf {
  const conf: Conf = new Map();
  let section: ConfSection | undefined;
  let option: { name: string; lines: string[]; line: number } | undefined;
  const finish = (): void => {
    if (option !== undefined) {
      const value = option.lines.join('\n').trim();
      section?.options.set(option.name, { value, file, line: option.line });
    }
    option = undefined;
  };
  for (const [index, raw] of text.split('\n').entries()) {
    const line = index + 1;
    const content = raw.replace(/\r$/, '');
    if (content.includes('\0')) throw syntaxError(file, line, 'a NUL byte; this is no text file');
    if (/^\s*#/.test(content)) continue;
    if (content.trim() === '') {
      continue;
    }
    if (/^\s/.test(content)) {
      if (option === undefined)
        throw syntaxError(file, line, 'a continued value without an option before it');
      option.lines.push(content.trim());
      continue;
    }
    finish();
    const header = /^\[([^\][]*)\]\s*$/.exec(content);
    if (header !== null) {
      const name = (header[1] ?? '').trim();
      if (name === '') throw syntaxError(file, line, 'a section without a name');
      section = conf.get(name) ?? { options: new Map<string, ConfValue>(), file, line };
      conf.set(name, section);
      continue;
    }
    const assignment = /^([A-Za-z_][A-Za-z0-9_.-]*)\s*=(.*)$/s.exec(content);
    if (assignment === null)
      throw syntaxError(file, line, `"${content.trim()}" is neither [section] nor option=value`);
    if (section === undefined)
      throw syntaxError(file, line, `"${assignment[1] ?? ''}" stands before any [section]`);
    option = { name: assignment[1] ?? '', lines: [(assignment[2] ?? '').trim()], line };
  }
  finish();
  return conf;
}

/**
 * Reads and parses one file.
 *
 * @returns undefined when there is no such file and `optional` is set
 * @throws ApppotError `not-found`, `permission`, `config-syntax`
 */
export async function readConf(file: string, optional: boolean): Promise<Conf | undefined> {
  try {
    return parseConf(await readFile(file, 'utf8'), file);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' && optional) return undefined;
    if (code === 'ENOENT')
      throw new ApppotError('not-found', `There is no configuration file ${file}.`, { cause: error });
    if (code === 'EACCES' || code === 'EISDIR')
      throw new ApppotError('permission', `The configuration file ${file} cannot be read (${code}).`, {
        cause: error,
      });
    throw error;
  }
}

/** Lays configurations over each other: an option of a later one wins over the same option of an earlier one. */
export function mergeConf(layers: readonly Conf[]): Conf {
  const merged: Conf = new Map();
  for (const layer of layers) {
    for (const [name, section] of layer) {
      const before = merged.get(name);
      merged.set(name, {
        options: new Map([...(before?.options ?? []), ...section.options]),
        file: section.file,
        line: section.line,
      });
    }
  }
  return merged;
}

function syntaxError(file: string, line: number, what: string): ApppotError {
  return new ApppotError('config-syntax', `${file}:${line}: ${what}.`, {
    hint: 'The format is described in docs/build-image.md, section "rootstrap.conf".',
  });
}
