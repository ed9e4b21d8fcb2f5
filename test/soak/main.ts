/**
 * `npm run soak -- [NAME]...`: the long runs, one after another; all of them by default. Each is a program of its own in
 * this folder, whose short form (APPPOT_SOAK=short) is a test.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Names, with the compiled program of each. */
const RUNS: Readonly<Record<string, string>> = {
  guests: 'soak.js',
  smp: 'smp.js',
  snapshots: 'snapshots.js',
  kills: 'kills.js',
};

const names = process.argv.slice(2);
const unknown = names.find((name) => !(name in RUNS));
if (unknown !== undefined) {
  console.error(`There is no soak "${unknown}"; there are: ${Object.keys(RUNS).join(', ')}.`);
  process.exitCode = 2;
} else {
  for (const name of names.length > 0 ? names : Object.keys(RUNS)) {
    console.log(`soak: ${name}`);
    const { status } = spawnSync(
      process.execPath,
      [fileURLToPath(new URL(RUNS[name] ?? '', import.meta.url))],
      {
        stdio: 'inherit',
      },
    );
    if (status !== 0) process.exitCode = 1;
  }
}
