import { existsSync } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { guestParts, launch, newFolder, start } from '../helpers/guest.ts';
import { listedWords } from '../helpers/processes.ts';
import { requireOrSkip } from '../helpers/require.ts';

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

test.serial('values of --env NAME, of --env-file and of proxies are in no list of processes', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const secret = (what: string): string => `hush-${process.pid}-${what}`;
  await writeFile(path.join(cwd, 'vars'), `IN_FILE=${secret('file')}\nBY_FILE\n`);
  await writeFile(path.join(cwd, 'list'), `env=IN_LIST=${secret('list')}\nsecond line\0`);
  const env = { GIVEN: secret('given'), BY_FILE: secret('by-file'), http_proxy: secret('proxy') };
  const options = ['-e', 'GIVEN', '--env-file', 'vars', '--env-list', 'list'];
  const running = launch(parts, [...options, '--', 'sh', '-c', 'env; echo ready; exec sleep 60'], {
    cwd,
    env,
  });
  const seen = new Set<string>();
  const look = (): void => {
    for (const words of listedWords()) if (words.includes(`hush-${process.pid}`)) seen.add(words);
  };
  const timer = setInterval(look, 20);
  await running.shows('ready\n');
  clearInterval(timer);
  look();
  running.child.kill('SIGTERM');
  const { stdout } = await running.ended;
  for (const line of [
    `GIVEN=${secret('given')}`,
    `IN_FILE=${secret('file')}`,
    `BY_FILE=${secret('by-file')}`,
    `IN_LIST=${secret('list')}\nsecond line`,
    `http_proxy=${secret('proxy')}`,
  ])
    t.true(stdout.includes(`${line}\n`));
  t.deepEqual([...seen], []);
});

test.serial('variables reach the job without a supervisor, too', async (t) => {
  const parts = guestParts(t);
  const stock = '/usr/bin/linux.uml';
  if (!requireOrSkip(t, existsSync(stock), 'the package user-mode-linux is not installed')) return;
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  // A folder of its own: no slirp beside the launcher.
  await copyFile(parts.launcher, path.join(cwd, 'apppot-start'));
  await writeFile(path.join(cwd, 'vars'), '# comment\nFILED=a b\nCOPIED');
  await writeFile(path.join(cwd, 'list'), 'env=LISTED=one\ntwo\0');
  const options = ['-q', '--kernel', stock, '-e', 'GIVEN', '--env-file', 'vars', '--env-list', 'list'];
  const script = 'printf "%s|" "$GIVEN" "$FILED" "$COPIED" "$LISTED"';
  const alone = { ...parts, launcher: path.join(cwd, 'apppot-start') };
  const ended = await launch(alone, [...options, '--', 'sh', '-c', script], {
    cwd,
    env: { GIVEN: "it's", COPIED: '$x' },
  }).ended;
  t.is(ended.stdout.toString(), "it's|a b|$x|one\ntwo|");
});
