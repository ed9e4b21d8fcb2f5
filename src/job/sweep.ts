/** Parameter sweeps: one task for each row of a CSV file (RFC 4180), `{column}` stands for its value. */
import { parse } from 'csv-parse/sync';
import { ApppotError } from '../errors.ts';
import { MAX_TASKS } from './array.ts';

/** One row: values by column name. */
export type Row = Readonly<Record<string, string>>;

/**
 * Reads a sweep.
 *
 * @param text the CSV file; its first line names the columns
 * @param file its name, for messages
 * @throws ApppotError `usage`
 */
export function parseSweep(text: string, file: string): readonly Row[] {
  let lines: string[][];
  try {
    lines = parse(text, {
      bom: true,
      trim: true,
      skip_empty_lines: true,
      record_delimiter: ['\r\n', '\n'],
    });
  } catch (cause) {
    throw new ApppotError('usage', `${file} is no CSV file: ${(cause as Error).message}.`, { cause });
  }
  const [columns = [], ...rows] = lines;
  const wrong = columns.find((name, at) => !/^[^{}\p{Cc}]+$/u.test(name) || columns.indexOf(name) !== at);
  if (wrong !== undefined || rows.length === 0 || rows.length > MAX_TASKS) {
    throw new ApppotError(
      'usage',
      wrong === undefined
        ? `${file} has ${rows.length} rows below its line of column names; a sweep has 1 to ${MAX_TASKS}.`
        : `${file}: "${wrong}" cannot be the name of a column, or is one twice.`,
      { hint: 'The first line names the columns, each other line is one job.' },
    );
  }
  return rows.map((row) => Object.fromEntries(columns.map((name, at) => [name, row[at] ?? ''])));
}

/**
 * Fills `{column}` in; what is in braces and no column stays as it is (awk programs have braces too).
 *
 * @param text an argument, or the value of a variable
 */
export function fillIn(text: string, row: Row): string {
  return text.replace(/\{([^{}]+)\}/g, (whole, name: string) =>
    Object.hasOwn(row, name) ? (row[name] ?? '') : whole,
  );
}
