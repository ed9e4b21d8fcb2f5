import { execFile } from 'node:child_process';
import test from 'ava';
import { guestParts } from '../helpers/guest.ts';

test('the short form of the soak: ten guests with mixed jobs, and two kills while writing, without a failure', async (t) => {
  if (guestParts(t) === undefined) return;
  const env = { ...process.env, APPPOT_SOAK: 'short' };
  const said = await new Promise<string>((resolve) => {
    execFile(process.execPath, ['dist/test/soak/soak.js'], { env }, (_, stdout, stderr) => {
      resolve(stdout + stderr);
    });
  });
  t.regex(said, /no failure, nothing left behind/);
});
