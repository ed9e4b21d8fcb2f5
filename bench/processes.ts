import { run, type RunOptions, type RunResult } from '../src/process/run.ts';

const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(name, () => {
    abort.abort();
  });

/** Runs a program that ends when the benchmark is interrupted, so that its folder can be removed. */
export async function start(words: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file = '', ...args] = words;
  // A runtime that the environment names is the one to measure, through all commands.
  const env = { APPPOT_RUNTIME: process.env['APPPOT_RUNTIME'], ...options.env };
  return run(file, args, { ...options, env, signal: options.signal ?? abort.signal });
}
