import test from 'ava';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApppotError } from '../../src/errors.ts';
import { shellQuote } from '../../src/process/quote.ts';
import { run } from '../../src/process/run.ts';

test('arguments reach the program as they are', async (t) => {
  const words = ['a b', '$HOME', "it's", '*', '', 'ü', '\n'];
  const { stdout } = await run('printf', ['%s\\0', ...words]);
  t.deepEqual(stdout.split('\0').slice(0, -1), words);
});

test('standard input is closed unless given', async (t) => {
  t.is((await run('cat', [])).stdout, '');
  t.is((await run('cat', [], { input: 'text' })).stdout, 'text');
});

test('the environment is stated, not inherited', async (t) => {
  process.env['APPPOT_TEST_LEAK'] = 'leaks';
  const { stdout } = await run('env', [], { env: { GIVEN: '1' } });
  t.false(stdout.includes('leaks'));
  t.true(stdout.includes('GIVEN=1'));
  t.true(stdout.includes('LC_ALL=C.UTF-8'));
});

test('a failure names program, code and last words, and the hint repeats the command', async (t) => {
  const error = await t.throwsAsync(run('sh', ['-c', 'echo "the reason" >&2; exit 3']), {
    instanceOf: ApppotError,
  });
  t.is(error.code, 'process-failed');
  t.regex(error.message, /sh ended with code 3/);
  t.regex(error.message, /the reason/);
  t.regex(error.hint ?? '', /sh -c 'echo "the reason"/);
});

test('a program that is not there is told apart from one that fails', async (t) => {
  const error = await t.throwsAsync(run('no-such-program-of-apppot', []), { instanceOf: ApppotError });
  t.is(error.code, 'missing-tool');
});

test('secret arguments are not repeated', async (t) => {
  const error = await t.throwsAsync(run('false', ['s3cret'], { secretArguments: true }), {
    instanceOf: ApppotError,
  });
  t.false(`${error.message}${error.hint ?? ''}`.includes('s3cret'));
});

test('codes that are no failure are given back', async (t) => {
  t.is((await run('sh', ['-c', 'exit 7'], { okCodes: [0, 7] })).exitCode, 7);
});

test('an abort ends the program and what it started', async (t) => {
  const abort = new AbortController();
  const lines: string[] = [];
  const running = run('sh', ['-c', 'sleep 300 & echo $!; wait'], {
    signal: abort.signal,
    onLine: (line) => lines.push(line),
  });
  while (lines.length === 0) await sleep(10);
  abort.abort(new ApppotError('interrupted', 'test'));
  await t.throwsAsync(running, { instanceOf: ApppotError });
  await sleep(50);
  // Gone, or dead and not yet reaped by its new parent (proc(5)).
  const state = await readFile(`/proc/${lines[0] ?? ''}/stat`, 'utf8').catch(() => '0 (gone) Z');
  t.regex(state, /\) Z/);
});

const WORDS = [
  'plain',
  'a b',
  "it's",
  '"',
  '$(id)',
  '`id`',
  '\\',
  '',
  '\n',
  '-n',
  'ü€',
  '!',
  "'''",
  '~',
  '#',
];

for (const word of WORDS) {
  test(`a shell reads ${JSON.stringify(word)} back from its quoted form`, async (t) => {
    const { stdout } = await run('sh', ['-c', `printf %s ${shellQuote(word)}`]);
    t.is(stdout, word);
  });
}
