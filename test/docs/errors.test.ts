import test from 'ava';
import { readdir, readFile } from 'node:fs/promises';
import { packageFile } from '../../src/config/paths.ts';

const DOCUMENT = packageFile('docs', 'errors.md');

/** Codes in the table of one chapter. */
async function documented(chapter: string): Promise<string[]> {
  const text =
    (await readFile(DOCUMENT, 'utf8')).split(/^## /m).find((part) => part.startsWith(chapter)) ?? '';
  return [...text.matchAll(/^\| `([a-z-]+)` \|/gm)].map((match) => match[1] ?? '').sort();
}

test('every code of a command is documented, and no other', async (t) => {
  const source = await readFile(packageFile('src', 'errors.ts'), 'utf8').catch(() => '');
  const union = /export type ErrorCode =([^;]*);/.exec(source)?.[1] ?? '';
  const codes = [...union.matchAll(/'([a-z-]+)'/g)].map((match) => match[1] ?? '').sort();
  t.true(codes.length > 10);
  t.deepEqual(await documented('Commands'), codes);
});

test('every code of a launch is documented, and no other', async (t) => {
  const codes = new Set<string>();
  for (const folder of [packageFile('image', 'slirp'), packageFile('image', 'guest')]) {
    for (const name of await readdir(folder)) {
      const text = await readFile(`${folder}/${name}`, 'utf8');
      const patterns = [
        /\b(?:die|outcome_error)\(\s*(?:EXIT_[A-Z]+,\s*)?"([a-z-]+)"/g,
        /\bopen_folder\([^,]*, "([a-z-]+)"/g,
        /\bfail\("([a-z-]+)"/g,
        /\bfail ([a-z-]+) "/g,
        /"error ([a-z-]+) /g,
        ...(name === 'console.c'
          ? [/\{ "[^"]+", "([a-z-]+)",/g, /\? "([a-z-]+)" : "/g, / : "([a-z-]+)", NULL/g]
          : []),
      ];
      for (const pattern of patterns) for (const match of text.matchAll(pattern)) codes.add(match[1] ?? '');
    }
  }
  t.true(codes.size > 20);
  t.deepEqual(await documented('Launches'), [...codes].sort());
});
