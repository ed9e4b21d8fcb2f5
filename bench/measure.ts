import { once } from 'node:events';
import { createServer } from 'node:net';
import { performance } from 'node:perf_hooks';
import { packageFile } from '../src/config/paths.ts';
import type { RunResult } from '../src/process/run.ts';
import { command, networkCommand, type Bench } from './columns.ts';
import { start } from './processes.ts';
import { ROWS, type Column, type Row } from './rows.ts';
import { add, type Measurements } from './table.ts';

async function timed(words: readonly string[], cwd: string): Promise<RunResult & { ms: number }> {
  const started = performance.now();
  const result = await start(words, { cwd });
  return { ...result, ms: performance.now() - started };
}

/** Rows around a whole launch, and those inside one, for one column. */
export async function measureLaunches(
  bench: Bench,
  column: Column,
  rows: ReadonlySet<string>,
  all: Measurements,
): Promise<void> {
  if (rows.has('start'))
    add(all, 'start', column, (await timed(command(bench, column, ['true']), bench.job)).ms);
  const inside = await measureInside(bench, column, 'inside', rows, all);
  // The stock kernel hangs or dies in these: docs/kernel.md.
  if (!column.startsWith('stock')) await measureInside(bench, column, 'memory', rows, all, ['--mem', '4G']);
  const check = /^check (\S+)$/m.exec(inside)?.[1];
  if (check === undefined) return;
  checks.add(check);
  if (checks.size > 1) throw new Error(`the numeric loop gives different results: ${[...checks].join(', ')}`);
}

const checks = new Set<string>();

/** The rows of one kind, inside one launch; returns what was printed. */
async function measureInside(
  bench: Bench,
  column: Column,
  kind: Row['kind'],
  rows: ReadonlySet<string>,
  all: Measurements,
  options: readonly string[] = [],
): Promise<string> {
  const names = ROWS.filter((row) => row.kind === kind && rows.has(row.name)).map((row) => row.name);
  if (names.length === 0) return '';
  const { stdout } = await timed(command(bench, column, ['sh', 'inside.sh', ...names], options), bench.job);
  for (const name of names) {
    const found = new RegExp(`^${name} ([\\d.]+) ms$`, 'm').exec(stdout);
    if (found === null) throw new Error(`${column}: no figure for ${name}; the guest said: ${stdout}`);
    add(all, name, column, Number(found[1]));
  }
  return stdout;
}

/** What "apppot run" costs more than apppot-start. */
export async function measureOverhead(bench: Bench, all: Measurements): Promise<void> {
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  const guest = ['--image', bench.image, '--mem', '512M', '--no-stdin', '--', 'true'];
  // The difference of two short times: more samples than the others.
  for (let sample = 0; sample < 4; sample += 1) {
    const direct = await timed([bench.start, ...guest], bench.job);
    const viaNode = await timed([process.execPath, cli, 'run', ...guest], bench.job);
    add(all, 'overhead', 'ours', viaNode.ms - direct.ms);
  }
  add(all, 'overhead', 'limit', 200);
}

/** iperf3 against a server on this machine's loopback, in both directions, for one column. */
export async function measureNetwork(
  bench: Bench,
  column: Column,
  rows: ReadonlySet<string>,
  all: Measurements,
): Promise<void> {
  for (const [row, direction] of [
    ['net-up', []],
    ['net-down', ['--reverse']],
  ] as const) {
    if (!rows.has(row)) continue;
    const port = await freePort();
    const abort = new AbortController();
    const server = start(['iperf3', '--server', '--bind', '127.0.0.1', '--port', String(port)], {
      signal: abort.signal,
    }).catch(() => undefined);
    const host = column === 'native' ? '127.0.0.1' : '10.0.2.2';
    const client = [
      'iperf3',
      '--client',
      host,
      '--port',
      String(port),
      '--time',
      '4',
      '--json',
      ...direction,
    ];
    try {
      const { stdout } = await timed(networkCommand(bench, column, client), bench.job);
      const report = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
      add(all, row, column, report.end.sum_received.bits_per_second / 1e9);
    } finally {
      abort.abort();
      await server;
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
