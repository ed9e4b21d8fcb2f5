/**
 * `npm run demo`: from nothing to a computation in a booted guest. Builds the runtime and an image with a compiler (both
 * are kept in the cache), compiles examples/rheinfall here and in the guest, runs both on two matrices of known rank,
 * and compares everything: output, expected rank, and a second method. Uses the public commands only.
 *
 * Exit codes: 0 all results agree, 1 something failed or differs.
 */
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('..', import.meta.url));
const cli = join(project, 'dist', 'src', 'cli', 'main.js');
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'apppot');
const image = join(cache, 'demo.img');
// The name has a blank on purpose: everything has to work there.
const work = mkdtempSync(join(tmpdir(), 'apppot demo '));

/** Rows, columns, rank, entries of a row: a few seconds of work. */
const LARGE = ['combinations', '3', '1400', '1100', '800', '6'];

function heading(text) {
  console.log(`\n== ${text}`);
}

/** Runs a program to its end. An interruption reaches it too, and then us: the work folder goes away. */
function execute(file, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, options);
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'])
      child[name]?.setEncoding('utf8').on('data', (text) => (output[name] += text));
    const pass = (signal) => child.kill(signal);
    for (const signal of SIGNALS) process.on(signal, pass);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      for (const name of SIGNALS) process.off(name, pass);
      const end = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
      if (code === 0) resolve(output);
      else reject(new Error(`${[file, ...args].join(' ')} ${end}${output.stderr && `:\n${output.stderr}`}`));
    });
  });
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Runs one of our commands on our own terminal; its failure is ours. */
async function show(...args) {
  await execute(process.execPath, [cli, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
}

/** Runs a program in the work folder and returns what it wrote, and how long it took from outside. */
async function capture(file, args) {
  const started = performance.now();
  const output = await execute(file, args, { cwd: work, stdio: ['ignore', 'pipe', 'pipe'] });
  return { ...output, seconds: (performance.now() - started) / 1000 };
}

/** A program of the work folder, natively or in the guest. */
function start(where, words) {
  return where === 'guest'
    ? capture(process.execPath, [cli, 'run', '--image', image, '--', ...words])
    : capture(words[0], words.slice(1));
}

const number = (text, pattern) => Number(pattern.exec(text)?.[1] ?? Number.NaN);

/** One matrix: both programs, and whether all ranks agree. */
async function compare(name, file, expected) {
  const native = await start('native', ['native/rheinfall', file]);
  const guest = await start('guest', ['guest/rheinfall', file]);
  // The second method needs the dense matrix, so it judges the small one only.
  const second = name === 'small' ? (await start('native', ['native/bareiss', file])).stdout : '';
  const ranks = {
    native: number(native.stdout, /^rank (\d+)$/m),
    guest: number(guest.stdout, /^rank (\d+)$/m),
    expected,
    ...(second === '' ? {} : { 'second method': number(second, /^rank (\d+)$/m) }),
  };
  const agrees = native.stdout === guest.stdout && Object.values(ranks).every((rank) => rank === expected);
  console.log(`\nThe ${name} matrix, as the guest says:`);
  process.stdout.write(guest.stdout.replace(/^/gm, '  ').trimEnd() + '\n');
  console.log(
    `  ranks: ${Object.entries(ranks)
      .map(([who, rank]) => `${who} ${rank}`)
      .join(', ')}`,
  );
  const inside = (run) => number(run.stderr, /^seconds ([\d.]+)$/m).toFixed(2);
  console.log(
    `  elimination: native ${inside(native)} s, guest ${inside(guest)} s; ` +
      `with start-up and power-off: guest ${guest.seconds.toFixed(2)} s`,
  );
  console.log(agrees ? '  all results agree' : `  THE RESULTS DIFFER; natively:\n${native.stdout}`);
  return agrees;
}

async function main() {
  heading('The runtime: a kernel that is a program, and its supervisor');
  await show('runtime', 'build');

  heading('The image: Debian with a C compiler');
  mkdirSync(cache, { recursive: true });
  // --force: a demo image of an earlier run is ours to replace.
  await show('build-image', '--packages', 'quickstart', '--force', '-o', image);

  heading('The program: compiled here, and in the guest');
  const source = join(project, 'examples', 'rheinfall');
  for (const name of readdirSync(source)) copyFileSync(join(source, name), join(work, name));
  for (const where of ['native', 'guest']) {
    mkdirSync(join(work, where));
    const { seconds } = await start(where, ['make', `OUT=${where}`]);
    console.log(`${where}: make took ${seconds.toFixed(2)} s`);
  }

  heading('The rank of two sparse matrices');
  const expected = number(readFileSync(join(work, 'small.rank'), 'utf8'), /^(\d+)$/m);
  const generated = await start('native', ['native/generate', ...LARGE]);
  writeFileSync(join(work, 'large.sms'), generated.stdout);
  const agree = [
    await compare('small', 'small.sms', expected),
    await compare('large', 'large.sms', number(generated.stderr, /^rank (\d+)$/m)),
  ];
  if (agree.includes(false)) throw new Error('the results differ');
  console.log(
    '\nVerified: native and guest agree with the known ranks, and on the small matrix with the second method.',
  );
  console.log(`The image is ${image}; try: node dist/src/cli/main.js shell --image '${image}'`);
}

try {
  await main();
} catch (error) {
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
