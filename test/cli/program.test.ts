import { Command } from '@commander-js/extra-typings';
import test from 'ava';
import { readFile } from 'node:fs/promises';
import { run, type RunResult } from '../../src/process/run.ts';
import { packageFile } from '../../src/config/paths.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { addJobOptions, givenValues } from '../../src/cli/job-options.ts';
import { optionWords } from '../../src/cli/launch-guest.ts';
import { addLaunchOptions } from '../../src/cli/launch-options.ts';
import { createContext } from '../../src/cli/context.ts';
import { humanBytes, table } from '../../src/cli/table.ts';

const ANY = Array.from({ length: 256 }, (_, code) => code);

async function apppot(...args: readonly string[]): Promise<RunResult> {
  return run(process.execPath, [packageFile('dist', 'src', 'cli', 'main.js'), ...args], {
    okCodes: ANY,
    cwd: '/',
  });
}

test('--version prints the version of package.json', async (t) => {
  t.regex((await apppot('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('--help lists every command, and exit codes', async (t) => {
  const { stdout, exitCode } = await apppot('--help');
  t.is(exitCode, 0);
  const context = createContext();
  for (const define of COMMANDS) t.true(stdout.includes(` ${define(context).name()} `));
  context.releaseSignals();
  t.true(stdout.includes('Exit codes:'));
});

test('every command has a description, and help with an example or commands of its own', async (t) => {
  const context = createContext();
  for (const define of COMMANDS) {
    const command = define(context);
    t.true(command.description().length > 10);
    const { stdout, exitCode } = await apppot(command.name(), '--help');
    t.is(exitCode, 0);
    t.regex(stdout, /Example|Commands:/);
  }
  context.releaseSignals();
});

test('an unknown command or option ends with 2, and with 125 where 2 could be a job’s', async (t) => {
  t.is((await apppot('frobnicate')).exitCode, 2);
  t.regex((await apppot('resise')).stderr, /Did you mean resize/);
  t.is((await apppot('resize', '--frobnicate')).exitCode, 2);
  t.is((await apppot('run', '--frobnicate', 'true')).exitCode, 125);
});

test('--memory is --mem, for launches and for jobs', (t) => {
  const job = new Command();
  addJobOptions(job);
  job.parse(['-m', '5', '--memory', '777'], { from: 'user' });
  t.deepEqual([...givenValues(job.opts())], [['mem', ['777']]]);
  const launch = new Command();
  addLaunchOptions(launch);
  launch.parse(['--memory', '777'], { from: 'user' });
  t.deepEqual(optionWords(launch.opts()), ['--mem', '777']);
});

test('an error is one sentence and a hint, and a record with --json', async (t) => {
  const plain = await apppot('exec', 'no-such-guest', '--', 'true');
  t.is(plain.exitCode, 1);
  t.regex(plain.stderr, /^apppot: There is no running guest "no-such-guest"\.\nhint: /);
  const json = await apppot('--json', 'exec', 'no-such-guest', '--', 'true');
  const { error } = JSON.parse(json.stderr) as { error: { code: string } };
  t.is(error.code, 'not-found');
});

test('completion knows commands and options', async (t) => {
  t.regex((await apppot('complete', '--', 'resi')).stdout, /resize/);
  t.regex((await apppot('complete', '--', 'run', '--im')).stdout, /--image/);
  for (const shell of ['bash', 'zsh', 'fish']) t.regex((await apppot('complete', shell)).stdout, /apppot/);
});

test('options of a launch become words of apppot-start', (t) => {
  t.deepEqual(
    optionWords({ image: 'a b.img', env: ['A=1', 'B=2'], stdin: false, writable: true, pin: true }),
    [...['--image', 'a b.img', '--write', '--env', 'A=1', '--env', 'B=2', '--no-stdin']],
  );
});

test('a table is as wide as its cells, and shows no control characters', (t) => {
  t.is(table(['A', 'B'], [['long', '\u001B[31m']]), 'A     B\nlong  ?[31m');
  t.is(humanBytes(1536), '1.5 KiB');
});

test('apppot run knows every option of apppot-start that docs/running.md names', async (t) => {
  const manual = await readFile(packageFile('docs', 'running.md'), 'utf8');
  const named = new Set(
    [...manual.matchAll(/`(--[a-z-]+)/g)].map((match) => match[1] ?? '').filter((name) => name !== '--'),
  );
  t.true(named.size > 10);
  const { stdout } = await apppot('run', '--help');
  const missing = [...named].filter((name) => !stdout.includes(name));
  t.deepEqual(missing, []);
});
