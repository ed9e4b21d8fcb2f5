/**
 * `npm test`: compiles, lints, builds the runtime and the image that the tests share, runs all tests, and ends
 * with one line of counts. APPPOT_TEST_REQUIRE=all turns every skipped test into a failure. Words after
 * `npm test --` choose test files: npm test -- test/machine
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const cli = 'dist/src/cli/main.js';
const lab = 'test/grid-lab/lab.sh';
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'apppot', 'test');
const image = join(cache, 'test.img');
const chosen = process.argv.slice(2);
/** Tests that stop parts of the grid lab, which others use: each runs by itself. */
const ALONE = ['test/grid/robust.test.ts', 'test/grid/arc-robust.test.ts'];
const count = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

/** Runs a program on our own output; true when it ends with 0. */
function execute(words, { env = process.env, onLine } = {}) {
  return new Promise((resolve) => {
    const [file, ...args] = words;
    const child = spawn(file, args, { env, stdio: ['ignore', onLine ? 'pipe' : 'inherit', 'inherit'] });
    let rest = '';
    child.stdout?.on('data', (data) => {
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      lines.forEach(onLine);
    });
    child.on('error', () => resolve(false));
    child.on('close', (code) => resolve(code === 0));
  });
}

/** One step that counts as one test. */
async function step(title, words) {
  const started = Date.now();
  const ok = await execute(words);
  count[ok ? 'passed' : 'failed'] += 1;
  if (!ok) failures.push(title);
  console.log(`${ok ? 'ok' : 'FAILED'}: ${title} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
  return ok;
}

/** Every test file, those that run by themselves left out. */
function together() {
  return readdirSync('test', { recursive: true })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join('test', name))
    .filter((name) => !ALONE.includes(name))
    .sort();
}

/** AVA's TAP output: counts, and the report of every test that failed. */
async function unitTests(env, files) {
  const started = Date.now();
  let report;
  const onLine = (line) => {
    const result = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO).*)?$/.exec(line);
    if (result) {
      const [, bad, title, skip] = result;
      report = bad === undefined ? undefined : title;
      count[skip ? 'skipped' : bad ? 'failed' : 'passed'] += 1;
      if (bad) failures.push(title);
      console.log(`${skip ? 'skipped' : bad ? 'FAILED' : 'ok'}: ${title}`);
    } else if (report !== undefined || line.startsWith('#')) {
      console.log(line);
    }
  };
  const ok = await execute(['npx', 'ava', '--tap', ...files], { env, onLine });
  if (!ok && failures.length === 0) {
    count.failed += 1;
    failures.push('ava ended with a failure of its own');
  }
  console.log(`tests took ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

const built = await step('compiles', ['npm', 'run', '--silent', 'build']);
if (built && chosen.length === 0) {
  await step('eslint', ['npx', 'eslint', '--max-warnings', '0', '.']);
  await step('prettier', ['npx', 'prettier', '--check', '--log-level', 'warn', '.']);
  await step('shellcheck', ['sh', 'test/lint-shell.sh']);
}
if (built) {
  mkdirSync(cache, { recursive: true });
  const env = { ...process.env, APPPOT_TEST_IMAGE: image };
  const ready =
    (await step('builds the runtime', ['node', cli, 'runtime', 'build'])) &&
    // Without the cache's own question to the mirror twice: --force replaces an image of an earlier run.
    (await step('builds the image of the tests', [
      ...['node', cli, 'build-image', '--packages', 'quickstart', '--include', 'python3-minimal,iperf3'],
      ...['--size', '2G', '--force', '-o', image],
    ])) &&
    (await step('builds the small image that travels', [
      ...['node', cli, 'build-image', '--packages', 'minimal', '--size', '400M', '--force'],
      ...['-o', join(cache, 'small.img')],
    ]));
  const onLine = (line) => (env.APPPOT_TEST_RUNTIME = line);
  if (ready && (await execute(['node', cli, 'runtime', 'path'], { onLine }))) {
    // A real grid for the tests that need one; without root or its packages they are skipped, or fail where all are required.
    const started = await execute(['bash', lab, 'up'], { onLine: (line) => (env.APPPOT_TEST_GRID = line) });
    console.log(started ? 'ok: the grid lab is up' : 'the grid lab cannot be started here');
    try {
      if (chosen.length > 0) await unitTests(env, chosen);
      else for (const files of [together(), ...ALONE.map((file) => [file])]) await unitTests(env, files);
    } finally {
      await execute(['bash', lab, 'down']);
    }
  }
}
if (failures.length > 0) console.log(`\nFailed:\n${failures.map((title) => `  ${title}`).join('\n')}`);
console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
process.exitCode =
  count.failed === 0 && (count.skipped === 0 || process.env.APPPOT_TEST_REQUIRE !== 'all') ? 0 : 1;
