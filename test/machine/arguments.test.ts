import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { guestParts, launch, newFolder, start } from '../helpers/guest.ts';

const HOSTILE = [
  'plain',
  '',
  ' blank first and last ',
  'two  blanks',
  "single 'quotes'",
  'double "quotes"',
  '$HOME $(id) `id` ${x}',
  'back\\slash \\n',
  'line one\nline two\n',
  'tab\there',
  '*',
  '~',
  '--image',
  '-x',
  '--',
  'a=b',
  ';|&<>(){}[]!#%^?',
  'Grüße, 世界 🪴',
  '\u0001\u001b[31m\u007f',
  '',
];

test.serial('arguments arrive as they are: blanks, quotes, $, newlines, UTF-8, empty ones', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const ended = await start(t, parts, ['--', 'printf', '%s\\0', ...HOSTILE]);
  t.deepEqual(ended.stdout.toString().split('\0').slice(0, -1), HOSTILE);
  t.is(ended.code, 0);
});

test.serial('every byte but NUL arrives in an argument, also where it is no UTF-8', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  // Node's own arguments are text, so the shell makes the bytes.
  const bytes = Array.from({ length: 255 }, (_, i) => `\\${(i + 1).toString(8).padStart(3, '0')}`).join('');
  const script = `exec "$@" "$(printf '${bytes}x')"`;
  const ended = await launch(parts, ['--', 'printf', '%s'], {
    cwd,
    wrapper: ['/bin/bash', '-c', script, 'bash'],
  }).ended;
  const expected = Buffer.from([...Array.from({ length: 255 }, (_, i) => i + 1), 'x'.charCodeAt(0)]);
  t.deepEqual(ended.stdout, expected);
});

test.serial('100 kB in one argument and 20,000 arguments arrive', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const long = 'x'.repeat(100_000);
  const one = await start(t, parts, ['--', 'printf', '%s', long]);
  t.is(one.stdout.toString(), long);
  const many = Array.from({ length: 20_000 }, (_, i) => `${i}`);
  const all = await start(t, parts, ['--', 'printf', '%s\\n', ...many]);
  t.is(all.stdout.toString(), `${many.join('\n')}\n`);
});

test.serial('options stand before the program only: the rest is its own', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const ended = await start(t, parts, ['echo', '--help', '-V', '--', '--image', 'x']);
  t.is(ended.stdout.toString(), '--help -V -- --image x\n');
});

test.serial('the image may be the first word', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const ended = await start(t, parts, [parts.image, '--', 'echo', 'hi'], { image: false });
  t.is(ended.stdout.toString(), 'hi\n');
});

test.serial(
  'a variable of the host does not reach the job, unless --env or --env-file says so',
  async (t) => {
    const parts = guestParts(t);
    if (parts === undefined) return;
    const cwd = await newFolder(t);
    await writeFile(
      path.join(cwd, 'vars'),
      '# a comment\nFROM_FILE=a b "c" $d\n\nCOPIED\nNOT_SET\nEQ=a=b=c\n',
    );
    const given = [
      '-e',
      'GIVEN=x y\nz',
      '-e',
      'TAKEN',
      '-e',
      'EMPTY=',
      '--env-file',
      'vars',
      '-e',
      'LAST=1',
      '-e',
      'LAST=2',
    ];
    const env = { SECRET: 'leak', TAKEN: "it's $taken", COPIED: 'copied', LD_PRELOAD_X: 'leak' };
    const ended = await launch(parts, [...given, '--', 'env', '-0'], { cwd, env }).ended;
    const got = new Map(
      ended.stdout
        .toString()
        .split('\0')
        .slice(0, -1)
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    t.false(ended.stdout.includes('leak'));
    t.like(Object.fromEntries(got), {
      GIVEN: 'x y\nz',
      TAKEN: "it's $taken",
      EMPTY: '',
      FROM_FILE: 'a b "c" $d',
      COPIED: 'copied',
      EQ: 'a=b=c',
      LAST: '2',
    });
    t.false(got.has('NOT_SET'));
    const documented = [
      'PATH',
      'HOME',
      'USER',
      'LOGNAME',
      'SHELL',
      'LANG',
      'OMP_NUM_THREADS',
      'APPPOT_VERSION',
      'APPPOT_JOB',
    ];
    const extra = ['GIVEN', 'TAKEN', 'EMPTY', 'FROM_FILE', 'COPIED', 'EQ', 'LAST'];
    t.deepEqual([...got.keys()].sort(), [...documented, ...extra].sort());
  },
);

test.serial('the array task of a batch system and the proxies reach the job', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const env = { SLURM_ARRAY_TASK_ID: '17', https_proxy: 'http://proxy.invalid:3128', SLURM_JWT: 'leak' };
  const ended = await start(t, parts, ['--', 'env'], { env });
  t.regex(ended.stdout.toString(), /^SLURM_ARRAY_TASK_ID=17$/m);
  t.regex(ended.stdout.toString(), /^https_proxy=http:\/\/proxy\.invalid:3128$/m);
  t.notRegex(ended.stdout.toString(), /leak/);
});

test.serial('--pwd starts in another folder of the guest; one that is not there is said', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  t.is((await start(t, parts, ['--pwd', '/usr/lib', '--', 'pwd'])).stdout.toString(), '/usr/lib\n');
  const wrong = await start(t, parts, ['--pwd', '/not/there', '--', 'pwd']);
  t.is(wrong.code, 125);
  t.regex(wrong.stderr, /\/not\/there/);
});
