import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { describeJob } from '../../src/job/description.ts';
import { formatIndices, parseArray } from '../../src/job/array.ts';
import { parseJobFile, splitWords } from '../../src/job/job-file.ts';
import { checkName, isSafeName } from '../../src/job/names.ts';
import { isOutput } from '../../src/job/outputs.ts';
import { timePlan } from '../../src/job/sandbox.ts';
import { fillIn, parseSweep } from '../../src/job/sweep.ts';
import { formatTime, parseSize, parseTime } from '../../src/job/units.ts';
import { newFolder } from '../helpers/guest.ts';

test('times are those of sbatch', (t) => {
  const times = {
    '90': 5400,
    '1:30': 90,
    '1:00:05': 3605,
    '1-': 0,
    '2-3': 183_600,
    '1-2:3': 93_780,
    '1-0:0:7': 86_407,
  };
  for (const [text, seconds] of Object.entries(times)) {
    if (seconds === 0) t.throws(() => parseTime(text), { message: /no time limit/ });
    else t.is(parseTime(text), seconds, `time ${text}`);
  }
  for (const wrong of ['', '0', '1:2:3:4', '-5', '1h', '1.5', ' 1'])
    t.throws(() => parseTime(wrong), undefined, `not refused: ${wrong}`);
  t.is(formatTime(93_780), '1-02:03:00');
});

test('a bare size is MB, and units are powers of 1024', (t) => {
  t.deepEqual(
    ['512', '2G', '1T', '70000K'].map((text) => parseSize(text, '--mem')),
    [512, 2048, 1_048_576, 69],
  );
  for (const wrong of ['', '1', 'G', '1P', '-1G', '0x10'])
    t.throws(() => parseSize(wrong, '--mem'), { message: /--mem/ });
});

test('arrays have ranges, steps, lists and a limit', (t) => {
  t.deepEqual(parseArray('1-3%2'), { indices: [1, 2, 3], parallel: 2 });
  t.deepEqual(parseArray('0-6:3,5,5'), { indices: [0, 3, 5, 6] });
  t.is(formatIndices([0, 3, 5, 6, 7]), '0,3,5-7');
  for (const wrong of ['', '3-1', '1-', '1%0', '1%2%3', 'a', '1--2', '1-999999999'])
    t.throws(() => parseArray(wrong), undefined, `not refused: ${wrong}`);
});

test('a sweep fills columns in, and leaves other braces alone', (t) => {
  const rows = parseSweep('\uFEFFa,b c\r\n1,"x ""y"", z"\n2,$(rm)\n', 'f.csv');
  t.deepEqual(rows, [
    { a: '1', 'b c': 'x "y", z' },
    { a: '2', 'b c': '$(rm)' },
  ]);
  t.is(
    fillIn("awk '{print $1}' {a}-{b c} {{a}} {constructor}", rows[0] ?? {}),
    'awk \'{print $1}\' 1-x "y", z {1} {constructor}',
  );
  for (const wrong of ['', 'a\n', 'a,a\n1,2\n', 'a,b\n1\n', 'a,\n1,2\n'])
    t.throws(() => parseSweep(wrong, 'f.csv'), undefined, `not refused: ${wrong}`);
});

test('values of a job file are everything behind the equals sign', (t) => {
  const file = ['# comment', '[job]', 'name = a ; b # c = "d"', 'env=A=1', 'env = B= 2', ''].join('\r\n');
  t.deepEqual(
    [...parseJobFile(file, 'f', ['name', 'env'])],
    [
      ['name', ['a ; b # c = "d"']],
      ['env', ['A=1', 'B= 2']],
    ],
  );
  t.throws(() => parseJobFile('nam = x', 'f', ['name']), { message: /f:1: there is no option "nam"/ });
  t.throws(() => parseJobFile('\nname', 'f', ['name']), { message: /f:2/ });
});

test('a command is split as a shell splits it, and nothing in it is expanded', (t) => {
  t.deepEqual(splitWords(String.raw`./a 'b c' "d \"e\" $x" f\ g ''  "h"i'j'`), [
    './a',
    'b c',
    'd "e" $x',
    'f g',
    '',
    'hij',
  ]);
  t.throws(() => splitWords("a 'b"), { message: /does not end/ });
});

test('names in a job folder cannot leave it, nor be AppPot’s own', (t) => {
  t.is(checkName('./a//b/./c', ''), 'a/b/c');
  for (const wrong of [
    '',
    '.',
    '/etc/passwd',
    '../a',
    'a/../../b',
    'a\nb',
    'outcome.json',
    'apppot-parts/job',
    '.apppot/x',
    'x'.repeat(300),
  ])
    t.throws(() => checkName(wrong, 'x'), undefined, `not refused: ${wrong}`);
  t.deepEqual(['a/b', '../a', 'a/../b', '/a', 'a\u0000', ''].map(isSafeName), [
    true,
    false,
    false,
    false,
    false,
    false,
  ]);
});

test('outputs are chosen as a shell would, folders with all that is in them', (t) => {
  const wanted = isOutput(['*.dat', 'out', 'plots/p?.png', 'a[1']);
  const paths = ['x.dat', 'out/deep/file', 'plots/p1.png', 'a[1', 'outcome.json'];
  const others = [
    'sub/x.dat',
    '.hidden.dat',
    'plots/p10.png',
    '../x.dat',
    'apppot-parts/x.dat',
    '.apppot/task/x',
    'out/../../x',
  ];
  t.deepEqual(
    paths.filter((path) => !wanted(path)),
    [],
  );
  t.deepEqual(
    others.filter((path) => wanted(path)),
    [],
  );
});

test('under a batch system a job is over before its limit is', (t) => {
  for (const time of [60, 600, 3600, 86_400]) {
    const { limit = 0, grace, reserve } = timePlan(time, true);
    t.true(limit + grace < time && limit + reserve === time && limit > time / 2, `${time}`);
  }
  t.is(timePlan(60, false).limit, 60);
});

test('a job without an image takes apppot.img of the folder, as a run does', async (t) => {
  const folder = await newFolder(t);
  const describe = (image?: string) => describeJob(new Map(), ['true'], { image }, { folder });
  await t.throwsAsync(describe(), { code: 'usage', message: /no image/ });
  await writeFile(join(folder, 'apppot.img'), '');
  t.is((await describe()).description.image, join(folder, 'apppot.img'));
  t.is((await describe('site:/other.img')).description.image, 'site:/other.img');
});
