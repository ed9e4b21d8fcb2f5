import { execFile } from 'node:child_process';
import test from 'ava';
import { guestParts } from '../helpers/guest.ts';

/** What a soak prints in its short form. */
function shortForm(program: string): Promise<string> {
  const env = { ...process.env, APPPOT_SOAK: 'short' };
  return new Promise((resolve) => {
    execFile(process.execPath, [`dist/test/soak/${program}`], { env }, (_, stdout, stderr) => {
      resolve(stdout + stderr);
    });
  });
}

test('the short form of the soak: ten guests with mixed jobs, and two kills while writing, without a failure', async (t) => {
  if (guestParts(t) === undefined) return;
  t.regex(await shortForm('soak.js'), /no failure, nothing left behind/);
});

test('mixed load on two processors of a guest gives right results only', async (t) => {
  if (guestParts(t) === undefined) return;
  const said = await shortForm('smp.js');
  t.regex(said, /no fault on two processors/);
  for (const load of ['compile', 'disk', 'job_folder', 'network', 'pipes'])
    t.regex(said, new RegExp(`^${load} [1-9]`, 'm'));
});
