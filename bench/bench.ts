/**
 * `npm run bench`: one run of all workloads, native, with Debian's User-Mode Linux, and with ours; same image, same
 * first process, same job, a cold copy-on-write file for each launch. Rounds are interleaved, so that a busy moment of
 * the machine hits all columns. Writes bench/RESULTS.md and bench/results.json. Needs root, for the native column.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cacheFolder, packageFile } from '../src/config/paths.ts';
import { ApppotError } from '../src/errors.ts';
import { findRuntime } from '../src/runtime/find.ts';
import { measureBuilds } from './builds.ts';
import { measureGrid } from './grid.ts';
import { findStock, prepare, remove, type Bench } from './columns.ts';
import { describeMachine, kernelVersions } from './machine.ts';
import { measureLaunches, measureNetwork, measureOverhead } from './measure.ts';
import { start } from './processes.ts';
import { measureSnapshots } from './snapshots.ts';
import { COLUMNS, ROWS, type Column, type Row } from './rows.ts';
import { judge, markdown, median, type Measurements } from './table.ts';

const USAGE = `usage: npm run bench -- [--rows NAME,…] [--columns NAME,…] [--rounds N] [--builds] [--million] [--grid]
                              [--image FILE] [--json] [--no-write]

Image builds are measured with --builds, a million files (minutes) with --million, rows about jobs with --grid (a grid
lab is started for them, and stopped), or when --rows names them. --rows takes those three kinds as well: build,
million, grid. --json prints results.json instead of the
table. The runtime is the built one, or the folder that APPPOT_RUNTIME names.

Rows: ${ROWS.map((row) => row.name).join(' ')}
Columns: ${Object.keys(COLUMNS).join(' ')}`;

/** Rows that take long, or much: only when they are asked for. */
const APART = ['build', 'million', 'grid'] as const;

interface Plan {
  readonly rows: ReadonlySet<string>;
  readonly columns: readonly Column[];
  readonly rounds: number;
  readonly image: string | undefined;
  readonly write: boolean;
  readonly json: boolean;
}

function choose<Name extends string>(text: string | undefined, known: readonly Name[], what: string): Name[] {
  const words = text === undefined ? known : text.split(',');
  return words.map((word) => {
    const found = known.find((name) => name === word);
    if (found === undefined) throw new Error(`there is no ${what} ${word}\n${USAGE}`);
    return found;
  });
}

function readPlan(): Plan | undefined {
  const { values } = parseArgs({
    options: {
      rows: { type: 'string' },
      columns: { type: 'string' },
      rounds: { type: 'string', default: '3' },
      image: { type: 'string' },
      builds: { type: 'boolean', default: false },
      million: { type: 'boolean', default: false },
      grid: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'no-write': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number above 0');
  const columns = choose(values.columns, Object.keys(COLUMNS) as Column[], 'column');
  const names = (rows: readonly Row[]): string[] => rows.map((row) => row.name);
  const ofKind = (...kinds: readonly Row['kind'][]): string[] =>
    names(ROWS.filter(({ kind }) => kinds.includes(kind)));
  const rows = new Set(
    values.rows === undefined
      ? names(ROWS).filter((name) => !ofKind(...APART).includes(name))
      : choose(values.rows, [...names(ROWS), ...APART], 'row').flatMap((word) => {
          const kind = APART.find((one) => one === word);
          return kind === undefined ? word : ofKind(kind);
        }),
  );
  const further = { build: values.builds, million: values.million, grid: values.grid };
  for (const kind of APART) if (further[kind]) for (const name of ofKind(kind)) rows.add(name);
  return { rows, columns, rounds, image: values.image, write: !values['no-write'], json: values.json };
}

/** The image of the tests: the same packages, so that the cache has it already. */
async function defaultImage(): Promise<string> {
  const image = join(cacheFolder('bench'), 'bench.img');
  await mkdir(cacheFolder('bench'), { recursive: true });
  const words = [
    '--packages',
    'quickstart',
    '--include',
    'python3-minimal,iperf3',
    '--size',
    '2G',
    '--force',
  ];
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  await start([process.execPath, cli, 'build-image', ...words, '-o', image]);
  return image;
}

async function rounds(bench: Bench, plan: Plan, all: Measurements): Promise<void> {
  for (let round = 1; round <= plan.rounds; round += 1) {
    for (const column of bench.columns) {
      console.error(`round ${round} of ${plan.rounds}: ${COLUMNS[column]}`);
      await measureLaunches(bench, column, plan.rows, all);
      await measureNetwork(bench, column, plan.rows, all);
    }
    if (plan.rows.has('overhead')) await measureOverhead(bench, all);
  }
}

async function report(all: Measurements, plan: Plan, notes: Readonly<Record<string, string>>): Promise<void> {
  const facts = Object.entries(notes)
    .map(([name, value]) => `- ${name}: ${value}`)
    .join('\n');
  const text = `# Results of the benchmark

Written by \`npm run bench\`; every ratio is of medians of one run (interleaved rounds: ${plan.rounds}). "stock" is Debian's
\`linux.uml\` unpinned, started by the same \`apppot-start\` and supervisor as
ours (for the network rows without supervisor, which slirp-fullbolt needs). Same image, same first process, same job, a cold copy-on-write file for each launch; all but start-up,
network and "apppot run" is timed inside one launch per round. "met" is about the goal's own ratio, in brackets; a busy
machine (see the load) distorts all of them. Milliseconds and seconds: lower is better. For image builds, "native" is
the bare \`mmdebstrap\` call with the same packages; for jobs it is arcsub, arcstat, arcget, or sbatch, squeue, cp, asked once a second. Rows of snapshots are whole commands, boot included; for "changes after a
small edit" the stock columns are GNU tar as AppPot 0.27 called it, in a launch of its own.

${facts}

${markdown(all)}
`;
  const rows = ROWS.flatMap((row) => {
    const values = all.get(row.name);
    if (values === undefined) return [];
    const medians = Object.fromEntries(Object.entries(values).map(([name, list]) => [name, median(list)]));
    const { name, title, unit, goal } = row;
    return [{ name, title, unit, values, medians, goal: goal?.text, ...judge(row, values) }];
  });
  const json = JSON.stringify({ ...notes, rounds: plan.rounds, rows }, null, 2);
  console.log(plan.json ? json : text);
  if (!plan.write) return;
  await writeFile(packageFile('bench', 'RESULTS.md'), text);
  await writeFile(packageFile('bench', 'results.json'), `${json}\n`);
}

async function main(): Promise<void> {
  const plan = readPlan();
  if (plan === undefined) {
    console.log(USAGE);
    return;
  }
  if (process.getuid?.() !== 0 && plan.columns.includes('native'))
    throw new ApppotError('permission', 'the native column is a chroot, which needs root', {
      hint: 'Run it as root, or choose others: --columns stock,stock-pinned,ours,ours-2',
    });
  const machine = await describeMachine();
  const all: Measurements = new Map();
  let image: Promise<string> | undefined;
  const theImage = (): Promise<string> =>
    (image ??= plan.image === undefined ? defaultImage() : Promise.resolve(plan.image));
  if (ROWS.some(({ name, kind }) => kind !== 'grid' && kind !== 'build' && plan.rows.has(name))) {
    const bench = await prepare(await theImage(), plan.columns);
    try {
      await rounds(bench, plan, all);
      await measureSnapshots(bench, plan.rows, plan.rounds, all);
    } finally {
      await remove(bench);
    }
  }
  await measureBuilds(plan.rows, all);
  await measureGrid(plan.rows, plan.rounds, theImage, all);
  const kernels = await kernelVersions((await findRuntime()).kernel, await findStock());
  await report(all, plan, { machine, kernels, date: new Date().toISOString().slice(0, 10) });
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof ApppotError && error.hint !== undefined) console.error(`bench: hint: ${error.hint}`);
  process.exitCode = 1;
}
