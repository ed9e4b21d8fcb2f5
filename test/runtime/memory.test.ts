import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { fixture } from '../helpers/fixture.ts';
import { guestParts, newFolder, start } from '../helpers/guest.ts';

/**
 * Runs rows of test/fixtures/c/memory.c in one guest, whatever the host's vm.max_map_count is: each checks every page.
 */
async function rows(t: ExecutionContext, options: readonly string[], script: readonly string[]) {
  const parts = guestParts(t);
  const program = await fixture(t, 'memory');
  if (parts === undefined || program === undefined) return;
  const cwd = await newFolder(t);
  await copyFile(program, path.join(cwd, 'memory'));
  const args = [...options, '--', 'sh', '-c', `set -e; ${script.join('; ')}`];
  const ended = await start(t, parts, args, { cwd, limit: 300_000 });
  const said = `${ended.stdout.toString()}${ended.stderr}`;
  t.is(ended.code, 0, said);
  t.is(said.match(/^\w+ ok /gm)?.length, script.join(';').match(/memory /g)?.length, said);
  t.log(said);
}

test.serial('a program may use more scattered pages than the host allows mappings', async (t) => {
  await rows(
    t,
    ['--mem', '2500'],
    [
      './memory touch 400',
      './memory scatter 1024 1000000',
      './memory fork 512',
      './memory holes 256',
      './memory shared /var/tmp/shared 64',
      './memory walk /var/tmp/walk 128 1000000',
    ],
  );
});

test.serial('two such programs at once do not disturb each other, on two processors', async (t) => {
  await rows(
    t,
    ['--mem', '2500', '--cpus', '2'],
    ['./memory scatter 512 500000 & p=$!', './memory fork 256', 'wait $p', './memory touch 400'],
  );
});
