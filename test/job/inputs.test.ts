/** What a job file, a sweep and --stage-in say, and what they must not say. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { describeJob, type JobRequest } from '../../src/job/description.ts';
import { parseJobFile } from '../../src/job/job-file.ts';
import { run } from '../../src/process/run.ts';
import { newFolder } from '../helpers/guest.ts';

type Options = Readonly<Record<string, readonly string[]>>;

async function describe(
  folder: string,
  options: Options,
  program: readonly string[] = ['true'],
): Promise<JobRequest> {
  const values = new Map(Object.entries({ image: ['site:/image'], ...options }));
  return describeJob(values, program, {}, { folder });
}

const refused = async (
  t: ExecutionContext,
  folder: string,
  options: Options,
  message: RegExp,
  program?: readonly string[],
): Promise<void> => {
  const error = await t.throwsAsync(describe(folder, options, program), { message });
  t.is(error.name, 'ApppotError');
};

test('a folder is sent with all its files, links followed; a link without an end or a goal is refused by name', async (t) => {
  const folder = await newFolder(t);
  await mkdir(join(folder, 'data', 'deep'), { recursive: true });
  await writeFile(join(folder, 'data', 'deep', 'one'), '1');
  await symlink('deep/one', join(folder, 'data', 'two'));
  await symlink('deep', join(folder, 'data', 'again'));
  const names = async (): Promise<readonly string[]> =>
    (await describe(folder, { 'stage-in': ['data'] })).description.stageIn.map(({ name }) => name);
  t.deepEqual(await names(), ['data/again/one', 'data/deep/one', 'data/two']);
  await symlink('..', join(folder, 'data', 'deep', 'up'));
  await refused(t, folder, { 'stage-in': ['data'] }, /up leads back to/);
  await run('rm', [join(folder, 'data', 'deep', 'up')]);
  await symlink('nowhere', join(folder, 'data', 'gone'));
  await refused(t, folder, { 'stage-in': ['data'] }, /gone is a link that leads nowhere/);
  await run('rm', [join(folder, 'data', 'gone')]);
  await symlink('self', join(folder, 'data', 'self'));
  await refused(t, folder, { 'stage-in': ['data'] }, /self is a link that leads to itself/);
  await run('mkfifo', [join(folder, 'pipe')]);
  await refused(t, folder, { 'stage-in': ['pipe'] }, /neither a file nor a folder/);
  await refused(t, folder, { stdin: ['data/deep', 'data'] }, /leads to itself/);
});

test('two inputs never meet in one place, and none is where an output goes', async (t) => {
  const folder = await newFolder(t);
  await mkdir(join(folder, 'b'));
  for (const name of ['a', 'b/a', 'stdout.txt']) await writeFile(join(folder, name), name);
  await refused(t, folder, { 'stage-in': ['a', 'b/a=a'] }, /Two inputs are called a/);
  await refused(t, folder, { 'stage-in': ['a', 'b/a=a/c'] }, /is a file .* needs a folder of that name/);
  await refused(t, folder, { stdin: ['a'], stdout: ['a'] }, /input a has the name of an output/);
  await refused(t, folder, {}, /input stdout\.txt has the name/, ['cat', 'stdout.txt']);
  await refused(t, folder, { stdin: ['b', 'b'] }, /Two inputs|name/, ['cat', 'stdout.txt']);
  const kept = await describe(folder, { stdout: ['other'] }, ['cat', 'stdout.txt']);
  t.deepEqual(
    kept.description.stageIn.map(({ name }) => name),
    ['stdout.txt'],
  );
});

test('an unknown name in a job file is refused with the one that was meant', (t) => {
  const known = ['stage-in', 'stage-out', 'mem', 'name'];
  const hint = (text: string): string => {
    const error = t.throws(() => parseJobFile(text, 'f', known));
    return (error as { hint?: string }).hint ?? '';
  };
  t.regex(hint('stage_out = x'), /Did you mean stage-out\?/);
  t.regex(hint('nmae = x'), /Did you mean name\?/);
  t.notRegex(hint('colour = x'), /Did you mean/);
  t.regex(hint('[jobs]'), /Did you mean job\?/);
});

test('a sweep whose columns the command does not name is refused', async (t) => {
  const folder = await newFolder(t);
  await writeFile(join(folder, 'semicolons.csv'), 'a;b\r\n1;2\r\n');
  await writeFile(join(folder, 'good.csv'), '\uFEFFa,b\r\n1,"2,\r\n3"\r\n\r\n4,5\r\n');
  await writeFile(join(folder, 'short.csv'), 'a,b\n1\n');
  const sweep = (name: string): Options => ({ sweep: [`${name}.csv`] });
  await refused(t, folder, sweep('semicolons'), /names no column .*\{a;b\}/, ['echo', '{a}']);
  await refused(t, folder, sweep('good'), /names no column/, ['echo', '{c}']);
  await refused(t, folder, sweep('short'), /no CSV file/, ['echo', '{a}']);
  const { tasks } = await describe(folder, sweep('good'), ['echo', '{b}']);
  t.deepEqual(
    tasks.map(({ program }) => program[1]),
    ['2,\r\n3', '5'],
  );
  const byVariable = await describe(folder, { ...sweep('good'), env: ['A={a}'] });
  t.deepEqual(
    byVariable.tasks.map(({ env }) => env['A']),
    ['1', '4'],
  );
});

test('a program of the job folder has to be among what is sent, and executable', async (t) => {
  const folder = await newFolder(t);
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin', 'prog'), '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(join(folder, 'script.py'), '');
  await refused(t, folder, {}, /no program \.\/prog here/, ['./prog']);
  await refused(t, folder, {}, /script\.py is not executable/, ['./script.py']);
  for (const [program, options] of [
    ['./bin/prog', {}],
    ['bin//prog', {}],
    ['./other', { 'stage-in': ['bin/prog=other'] }],
    ['./fetched', { 'stage-in': ['fetched=https://example.org/x'] }],
    ['/opt/prog', {}],
    ['prog', {}],
    ['../prog', {}],
  ] as const)
    t.is((await describe(folder, options, [program])).description.program[0], program);
});
