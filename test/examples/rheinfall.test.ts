import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';

const source = packageFile('examples', 'rheinfall');
let programs = '';

test.before(async () => {
  programs = await mkdtemp(join(tmpdir(), 'apppot rheinfall '));
  // make cannot hold a blank in a target's name.
  const plain = await mkdtemp(join(tmpdir(), 'apppot-rheinfall-'));
  await run('make', ['-C', source, `OUT=${plain}`, 'CFLAGS=-std=gnu11 -O2 -Wall -Wextra -Werror']);
  await run('cp', ['-a', `${plain}/.`, programs]);
  await rm(plain, { recursive: true });
});

test.after.always(async () => {
  await rm(programs, { recursive: true, force: true });
});

const rankOf = (text: string) => Number(/^rank (\d+)$/m.exec(text)?.[1]);

async function program(name: string, args: readonly string[], okCodes = [0]) {
  return run(join(programs, name), args, { okCodes });
}

async function matrix(name: string, text: string): Promise<string> {
  const file = join(programs, `${name}.sms`);
  await writeFile(file, text);
  return file;
}

test('the small matrix has the rank that is written beside it, by both methods', async (t) => {
  const expected = Number(await readFile(join(source, 'small.rank'), 'utf8'));
  const file = join(source, 'small.sms');
  const first = await program('rheinfall', [file]);
  t.is(rankOf(first.stdout), expected);
  t.regex(first.stdout, /^proven: /m);
  t.is(rankOf((await program('bareiss', [file])).stdout), expected);
});

const families: readonly (readonly string[])[] = [
  ['combinations', '7', '60', '50', '37', '4'],
  ['combinations', '9', '40', '40', '40', '5'],
  ['combinations', '11', '30', '70', '1', '9'],
  ['simplex', '8', '3'],
  ['simplex', '6', '5'],
  ['graph', '5', '80', '6', '200'],
  ['graph', '6', '50', '50', '0'],
];
for (const words of families) {
  test(`both methods find the rank that ${words.join(' ')} was made with`, async (t) => {
    const generated = await program('generate', words);
    const expected = rankOf(generated.stderr);
    const file = await matrix(words.join('-'), generated.stdout);
    const first = await program('rheinfall', [file]);
    t.is(rankOf(first.stdout), expected);
    t.regex(first.stdout, /^proven: /m);
    t.is(rankOf((await program('bareiss', [file])).stdout), expected);
  });
}

test('a rank that is smaller modulo a prime is not taken for the rank', async (t) => {
  const file = await matrix('sevens', '2 3 M\n1 1 7\n2 2 -14\n2 3 7\n0 0 0\n');
  t.regex((await program('rheinfall', ['--modulo', '7', file])).stdout, /^rank modulo 7: 0$/m);
  t.is(rankOf((await program('rheinfall', [file])).stdout), 2);
});

test('values at the ends of 64 bits are exact in both methods', async (t) => {
  const [high, low] = ['9223372036854775807', '-9223372036854775808'];
  const file = await matrix('ends', `2 2 M\n1 1 ${high}\n1 2 ${low}\n2 1 ${low}\n2 2 ${high}\n0 0 0\n`);
  t.is(rankOf((await program('rheinfall', [file])).stdout), 2);
  t.is(rankOf((await program('bareiss', [file])).stdout), 2);
});

test('a rank that fewer primes do not prove is called not proven', async (t) => {
  const generated = await program('generate', ['combinations', '7', '60', '50', '37', '4']);
  const file = await matrix('few', generated.stdout);
  t.regex((await program('rheinfall', ['--primes', '1', file])).stdout, /^not proven: at least 37;/m);
});

const broken: readonly (readonly [string, string, RegExp])[] = [
  ['nothing', '', /empty/],
  ['another format', '%%MatrixMarket matrix\n', /line 1: a number was expected/],
  ['no kind', '2 2\n0 0 0\n', /line 1: not an SMS matrix/],
  ['no end', '2 2 M\n1 1 1\n', /closing line "0 0 0" is missing/],
  ['an entry outside', '2 2 M\n3 1 1\n0 0 0\n', /line 2: there is no entry \(3, 1\)/],
  ['an entry twice', '2 2 M\n1 1 1\n1 1 2\n0 0 0\n', /\(1, 1\) is there twice/],
  ['a value too long', '1 1 M\n1 1 9223372036854775808\n0 0 0\n', /more than 64 bits/],
  ['a fraction', '1 1 M\n1 1 0.5\n0 0 0\n', /line 2: unexpected ".5/],
];
for (const [what, text, message] of broken) {
  test(`a matrix file with ${what} ends with one sentence and code 1`, async (t) => {
    const file = await matrix(`broken-${what}`, text);
    const result = await program('rheinfall', [file], [1]);
    t.regex(result.stderr, message);
    t.is(result.stderr.trimEnd().split('\n').length, 1);
  });
}
