import test from 'ava';
import { mergeConf, parseConf } from '../../src/image/conf.ts';
import { ApppotError } from '../../src/errors.ts';

/** Sections and values as plain objects. */
function plain(text: string): Record<string, Record<string, string>> {
  return Object.fromEntries(
    [...parseConf(text, 'f')].map(([name, section]) => [
      name,
      Object.fromEntries([...section.options].map(([option, { value }]) => [option, value])),
    ]),
  );
}

const good: readonly (readonly [string, string, Record<string, Record<string, string>>])[] = [
  ['an empty file', '', {}],
  ['comments and empty lines', '# a\n\n  # b\n', {}],
  ['a section without options', '[mkfs]\n', { mkfs: {} }],
  ['blanks around the equals sign', '[a]\nx = y z \n', { a: { x: 'y z' } }],
  ['an empty value', '[network]\nhost=\numl=10.0.2.15\n', { network: { host: '', uml: '10.0.2.15' } }],
  [
    'a value that goes on',
    '[d]\nsources=\n deb a b c\n\tdeb d e f\nx=1\n',
    { d: { sources: 'deb a b c\ndeb d e f', x: '1' } },
  ],
  [
    'a comment inside a value',
    '[d]\nsources=\n deb a b c\n#deb no\n deb d e f\n',
    { d: { sources: 'deb a b c\ndeb d e f' } },
  ],
  ['an indented comment inside a value', '[d]\ns=a\n  # no\n b\n', { d: { s: 'a\nb' } }],
  ['an empty line inside a value', '[d]\ns=a\n\n b\n', { d: { s: 'a\nb' } }],
  ['an equals sign in a value', '[global]\numlargs= mem=256M\n', { global: { umlargs: 'mem=256M' } }],
  ['a section that comes twice', '[a]\nx=1\n[b]\n[a]\ny=2\n', { a: { x: '1', y: '2' }, b: {} }],
  ['an option that comes twice', '[a]\nx=1\nx=2\n', { a: { x: '2' } }],
  ['line ends of another system', '[a]\r\nx=1\r\n', { a: { x: '1' } }],
  ['quotes and shell words, which mean nothing', '[a]\nx="$(id)" \'b\'\n', { a: { x: '"$(id)" \'b\'' } }],
];
for (const [title, text, expected] of good)
  test(`rootstrap.conf may have ${title}`, (t) => {
    t.deepEqual(plain(text), expected);
  });

const bad: readonly (readonly [string, string, number])[] = [
  ['an option before any section', '\nx=1\n', 2],
  ['a line that is neither', '[a]\nx=1\nhello world\n', 3],
  ['a continued line without an option', '[a]\n x\n', 2],
  ['a section without a name', '# c\n[ ]\n', 2],
  ['a NUL byte', '[a]\nx=\0\n', 2],
  ['a section that is not closed', '[a\n', 1],
];
for (const [title, text, line] of bad)
  test(`rootstrap.conf with ${title} is an error that names file and line`, (t) => {
    const error = t.throws(() => parseConf(text, 'some/file.conf'), { instanceOf: ApppotError });
    t.is(error.code, 'config-syntax');
    t.is(error.message.slice(0, `some/file.conf:${line}: `.length), `some/file.conf:${line}: `);
  });

test('a later configuration wins option by option', (t) => {
  const merged = mergeConf([
    parseConf('[debian]\ndist=squeeze\nmirror=m\n[mkfs]\n', 'system'),
    parseConf('[debian]\ndist=stable\n', 'local'),
  ]);
  const option = (name: string): unknown => merged.get('debian')?.options.get(name);
  t.deepEqual(option('dist'), { value: 'stable', file: 'local', line: 2 });
  t.deepEqual(option('mirror'), { value: 'm', file: 'system', line: 3 });
  t.true(merged.has('mkfs'));
});
