import { COLUMNS, ROWS, type Column, type Row } from './rows.ts';

/** All values that were measured of one row, by column; "limit" holds a fixed figure that a goal names. */
export type Values = Partial<Record<Column | 'limit', number[]>>;

/** Row name to values. */
export type Measurements = Map<string, Values>;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(middle)] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

export function add(all: Measurements, row: string, column: Column | 'limit', value: number): void {
  const values = all.get(row) ?? {};
  (values[column] ??= []).push(value);
  all.set(row, values);
}

/** A goal's ratio and whether it is met; undefined when one of the two was not measured. */
export function judge(row: Row, values: Values): { ratio: number; met: boolean } | undefined {
  const [top, bottom] = (row.goal?.ratio ?? []).map((name) => values[name as Column | 'limit']);
  if (row.goal === undefined || top === undefined || bottom === undefined) return undefined;
  const ratio = median(top) / median(bottom);
  return { ratio, met: ratio >= (row.goal.atLeast ?? 0) && ratio <= (row.goal.atMost ?? Infinity) };
}

/** The table in Markdown: medians, the ratio that the goal is about, and whether it is met. */
export function markdown(all: Measurements): string {
  const columns = Object.keys(COLUMNS) as Column[];
  const head = [
    '',
    'unit',
    ...columns.map((column) => COLUMNS[column]),
    'stock / AppPot',
    'AppPot / native',
    'goal',
    'met',
  ];
  const lines = ROWS.flatMap((row) => {
    const values = all.get(row.name);
    if (values === undefined) return [];
    const cells = columns.map((column) => show(values[column]));
    const result = judge(row, values);
    const met = result === undefined ? '–' : `${result.met ? 'yes' : 'no'} (${result.ratio.toFixed(2)})`;
    return [[row.title, row.unit, ...cells, ...ratios(values), row.goal?.text ?? '–', met]];
  });
  return [head, head.map((_, index) => (index < 2 ? '---' : '---:')), ...lines]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

/** Stock against ours and ours against native, as plain quotients of medians; network rows are the other way up. */
export function ratios(values: Values): [string, string] {
  const quotient = (top: readonly number[] | undefined, bottom: readonly number[] | undefined): string =>
    top === undefined || bottom === undefined ? '–' : (median(top) / median(bottom)).toFixed(2);
  return [quotient(values.stock, values.ours), quotient(values.ours, values.native)];
}

function show(values: readonly number[] | undefined): string {
  if (values === undefined || values.length === 0) return '–';
  const value = median(values);
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value).toString();
}
