import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageFile } from '../../src/config/paths.ts';
import { findLeftFolders, removeLeftFolders } from '../../src/machine/clean.ts';
import { findGuest, listGuests } from '../../src/machine/guests.ts';
import { run, type RunResult } from '../../src/process/run.ts';
import { fixture } from '../helpers/fixture.ts';
import { guestParts, launch, newFolder } from '../helpers/guest.ts';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

const CLI = packageFile('dist', 'src', 'cli', 'main.js');
const ANY = Array.from({ length: 256 }, (_, code) => code);

async function apppot(args: readonly string[], input?: string): Promise<RunResult> {
  return run(process.execPath, [CLI, ...args], { okCodes: ANY, ...(input === undefined ? {} : { input }) });
}

test('a running guest is listed, looked into with streams and code of its own, and stopped', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const job = launch(
    parts,
    ['--id', 'look', 'sh', '-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done'],
    { cwd },
  );
  await job.shows('up');
  const guest = (await listGuests()).find(({ jobFolder }) => jobFolder === cwd);
  t.like(guest, { id: 'look', jobFolder: cwd, image: parts.image });
  t.deepEqual(guest?.program.slice(0, 2), ['sh', '-c']);
  const id = String(guest?.pid);
  const look = await apppot(
    ['exec', id, '--', 'sh', '-c', 'cat; echo err >&2; test -t 1 || exit 4'],
    'text in\n',
  );
  t.deepEqual([look.stdout, look.stderr, look.exitCode], ['text in\n', 'err\n', 4]);
  const missing = await apppot(['exec', id, '--', 'no-such-program']);
  t.is(missing.exitCode, 127);
  t.is((await apppot(['exec', id, '--', 'sh', '-c', 'kill -9 $$'])).exitCode, 137);
  t.is((await apppot(['stop', id])).exitCode, 0);
  t.is((await job.ended).code, 9);
  await t.throwsAsync(findGuest(id), { message: /There is no running guest/ });
});

test('more looks than there are lines are refused with a sentence, and lines are used again', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const job = launch(parts, ['sh', '-c', 'echo up; exec sleep 60'], { cwd });
  await job.shows('up');
  const id = String((await listGuests()).find(({ jobFolder }) => jobFolder === cwd)?.pid);
  for (let round = 0; round < 6; round += 1) {
    t.is((await apppot(['exec', id, '--', 'echo', String(round)])).stdout, `${round}\n`);
  }
  const waiting = [1, 2, 3, 4].map(() => apppot(['exec', id, '--', 'sleep', '4']));
  await sleep(2000);
  const refused = await apppot(['exec', id, '--', 'true']);
  t.is(refused.exitCode, 125);
  t.regex(refused.stderr, /four programs look into the guest already/);
  for (const look of await Promise.all(waiting)) t.is(look.exitCode, 0);
  await apppot(['stop', id]);
  t.is((await job.ended).code, 143);
});

test('a megabyte passed into a look arrives whole', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const job = launch(parts, ['sh', '-c', 'echo up; exec sleep 60'], { cwd });
  await job.shows('up');
  const id = String((await listGuests()).find(({ jobFolder }) => jobFolder === cwd)?.pid);
  const text = 'all work and no play\n'.repeat(60_000);
  t.is((await apppot(['exec', id, '--', 'cat'], text)).stdout, text);
  await apppot(['stop', id]);
  await job.ended;
});

test('a shell is a terminal of the right size, and a session keeps its changes', async (t) => {
  const parts = guestParts(t);
  const pty = await fixture(t, 'pty');
  if (parts === undefined || pty === undefined) return;
  const cwd = await newFolder(t);
  const env = { APPPOT_RUNTIME: parts.runtime, XDG_STATE_HOME: join(cwd, 'state'), TERM: 'xterm' };
  const shell = async (...steps: readonly string[]) =>
    run(
      pty,
      [
        ...['--size', '33x111', '--timeout', '60', '--log', join(cwd, 'log')],
        ...steps,
        ...['--', process.execPath, CLI, 'shell', parts.image],
      ],
      { cwd, env, okCodes: ANY },
    );
  const first = await shell(
    ...['--expect', '/job', '--send', 'stty size; sudo touch /kept; echo do"ne"\\r', '--expect', '33 111'],
    ...['--expect', 'done', '--send', 'exit\\r'],
  );
  t.is(first.exitCode, 0);
  const second = await shell(...['--expect', '/job', '--send', 'ls /kept; exit\\r', '--expect', '/kept\r\n']);
  t.is(second.exitCode, 0);
  const list = await run(process.execPath, [CLI, 'sessions', 'list', '--json'], { env });
  const [session] = JSON.parse(list.stdout) as [{ name: string; bytes: number }];
  t.true(session.bytes > 0);
  await run(process.execPath, [CLI, 'sessions', 'rm', session.name], { env });
  t.deepEqual(
    JSON.parse((await run(process.execPath, [CLI, 'sessions', 'list', '--json'], { env })).stdout),
    [],
  );
});

test('run folders that were left behind are found and removed, and nothing else', async (t) => {
  const cwd = await newFolder(t);
  await mkdir(join(cwd, '.apppot', 'gone', 'guest'), { recursive: true });
  t.deepEqual(await findLeftFolders(cwd, 3600), []);
  const left = await findLeftFolders(cwd, 0);
  t.deepEqual(
    left.map(({ folder }) => folder),
    [join(cwd, '.apppot', 'gone')],
  );
  await removeLeftFolders(cwd, left);
  t.deepEqual(await findLeftFolders(cwd, 0), []);
});

test('a signal to the whole group of apppot exec reaches the program of a look once', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const job = launch(parts, ['sh', '-c', 'echo up; exec sleep 60'], { cwd });
  await job.shows('up');
  const guest = (await listGuests()).find(({ jobFolder }) => jobFolder === cwd);
  const program =
    'n=0; trap "n=\\$((n+1))" INT; echo ready; i=0; while [ $i -lt 15 ]; do sleep 0.1; i=$((i+1)); done; exit $n';
  const script = `"$@" >ready & while ! grep -q ready ready; do sleep 0.05; done; kill -INT 0; wait $!; wait $!`;
  const ended = await run(
    'setsid',
    [
      '-w',
      'sh',
      '-c',
      `trap : INT; ${script}`,
      'sh',
      process.execPath,
      CLI,
      'exec',
      String(guest?.pid),
      '--',
      'sh',
      '-c',
      program,
    ],
    { okCodes: ANY, cwd },
  );
  t.is(ended.exitCode, 1);
  job.child.kill('SIGTERM');
  t.is((await job.ended).code, 143);
});
