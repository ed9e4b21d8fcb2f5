import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { fixture } from '../helpers/fixture.ts';
import { guestParts, launch, newFolder, start } from '../helpers/guest.ts';

for (const cpus of ['1', '2']) {
  test.serial(
    `files and names in the job folder are what they are natively, ${cpus} processor(s)`,
    async (t) => {
      const parts = guestParts(t);
      const program = await fixture(t, 'files');
      if (parts === undefined || program === undefined) return;
      const [native, job] = [await newFolder(t), await newFolder(t)];
      await copyFile(program, path.join(job, 'files'));
      const words = ['file', '3000', '7'];
      const { stdout } = await promisify(execFile)(program, words, { cwd: native });
      const args = ['--mem', '512M', '--cpus', cpus, '--', './files', ...words];
      const ended = await start(t, parts, args, { cwd: job });
      t.is(ended.code, 0, `it said: ${ended.stderr}`);
      t.is(ended.stdout.toString(), stdout);
      t.true((await readFile(path.join(job, 'file'))).equals(await readFile(path.join(native, 'file'))));
      const list = async (cwd: string) =>
        (
          await promisify(execFile)('find', ['names2', '-type', 'f', '-printf', '%p %s %m %n\n'], { cwd })
        ).stdout
          .split('\n')
          .sort();
      t.deepEqual(await list(job), await list(native));
    },
  );
}

test.serial('what the host does in the job folder is seen by the guest at once', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const file = (name: string) => path.join(cwd, name);
  await mkdir(file('folder'));
  await writeFile(file('folder/file'), 'first');
  // Looks all the time, so that all that can be remembered is remembered.
  const look =
    'last=; while :; do now=$(cat folder/file 2>/dev/null || echo none); ' +
    'if [ "$now" != "$last" ]; then echo "sees $now"; last=$now; fi; [ "$now" != end ] || exit 0; done';
  const started = launch(parts, ['--mem', '256M', '--', 'sh', '-c', look], { cwd });
  const { ended, shows } = started;
  await shows('sees first\n');
  await rename(file('folder'), file('old'));
  await shows('sees none\n');
  await mkdir(file('folder'));
  await writeFile(file('folder/file'), 'second');
  await shows('sees second\n');
  await writeFile(file('folder/new'), 'third, and longer');
  await rename(file('folder/new'), file('folder/file'));
  await shows('sees third, and longer\n');
  await rm(file('folder'), { recursive: true });
  await rename(file('old'), file('folder'));
  await shows('sees first\n');
  await writeFile(file('folder/new'), 'end');
  await rename(file('folder/new'), file('folder/file'));
  t.is((await ended).code, 0);
});

test.serial('the host sees what the guest writes at once, before the file is closed', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const job = 'exec 3>log; echo line >&3; echo written; read x; echo more >&3';
  const started = launch(parts, ['--mem', '256M', '--', 'sh', '-c', job], { cwd, stdin: 'pipe' });
  await started.shows('written\n');
  t.is(await readFile(path.join(cwd, 'log'), 'utf8'), 'line\n');
  started.child.stdin?.end('\n');
  t.is((await started.ended).code, 0);
  t.is(await readFile(path.join(cwd, 'log'), 'utf8'), 'line\nmore\n');
});
