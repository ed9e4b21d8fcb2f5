/** The commands on jobs as a person meets them at a terminal: what they say when they are stopped, or mistyped. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { guestParts, newFolder, type GuestParts } from '../helpers/guest.ts';

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A person at a desk of their own: journal, settings, folder. */
interface Desk {
  readonly folder: string;
  readonly apppot: (...args: readonly string[]) => Promise<Said>;
  /** Ctrl-C as soon as `ready` is true. */
  readonly interrupted: (args: readonly string[], ready: (stderr: string) => boolean) => Promise<Said>;
}

async function desk(t: ExecutionContext, parts: GuestParts): Promise<Desk> {
  const folder = await newFolder(t);
  const work = join(folder, 'my work');
  await mkdir(work);
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    APPPOT_IMAGE: parts.image,
    APPPOT_RUNTIME: parts.runtime,
  };
  const start = async (
    args: readonly string[],
    ready: (stderr: string) => boolean = () => false,
  ): Promise<Said> => {
    const child = spawn(process.execPath, [packageFile('dist', 'src', 'cli', 'main.js'), ...args], {
      cwd: work,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const state = { over: false };
    const ended = once(child, 'close').then(([code]) => {
      state.over = true;
      return code as number | null;
    });
    const watch = async (): Promise<void> => {
      while (!state.over && !ready(stderr)) await delay(20);
      if (!state.over) child.kill('SIGINT');
    };
    await watch();
    return { code: (await ended) ?? -1, stdout, stderr };
  };
  return { folder: work, apppot: (...args) => start(args), interrupted: start };
}

const states = (said: Said): readonly string[] =>
  (JSON.parse(said.stdout) as { state: string }[]).map(({ state }) => state);

test('Ctrl-C while a job is waited for leaves it running, and says how to go on', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { apppot, interrupted } = await desk(t, parts);
  const submitted = await interrupted(['submit', '-W', '-J', 'long', '--', 'sleep', '600'], (stderr) =>
    stderr.includes('waiting for its end'),
  );
  t.is(submitted.code, 130);
  t.regex(submitted.stderr, /apppot jobs wait [0-9a-f]{8}".*apppot jobs fetch .*apppot jobs cancel/);
  const id = /apppot jobs wait ([0-9a-f]{8})/.exec(submitted.stderr)?.[1] ?? '';
  while (!states(await apppot('jobs', 'list', '--json')).includes('running')) await delay(200);
  let asked = 0;
  const waited = await interrupted(['jobs', 'wait', id], () => (asked += 1) > 100);
  t.is(waited.code, 130);
  t.regex(waited.stderr, /The jobs go on/);
  t.deepEqual(states(await apppot('jobs', 'list', '--json')), ['running']);
  t.is((await apppot('jobs', 'cancel', id)).code, 0);
  t.is((await apppot('jobs', 'wait', id)).code, 1);
  t.deepEqual(states(await apppot('jobs', 'list', '--json')), ['cancelled']);
});

test('Ctrl-C while a job is being sent leaves it in doubt, and names the command that finds out', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { folder, apppot, interrupted } = await desk(t, parts);
  // A sbatch that has been called and does not answer: no real one can be held at this moment.
  const bin = join(folder, 'bin');
  await mkdir(bin);
  await writeFile(join(bin, 'sbatch'), `#!/bin/sh\n: >'${folder}/called'\nexec sleep 600\n`);
  await chmod(join(bin, 'sbatch'), 0o755);
  const settings = join(folder, '..', '.config', 'apppot');
  await mkdir(settings, { recursive: true });
  await writeFile(
    join(settings, 'apppot.ini'),
    `[target held]\ntype = slurm\npath = ${bin}\nfolder = ${folder}/jobs\nimage = site:${parts.image}\n`,
  );
  const sent = await interrupted(['submit', '--to', 'held', '--', 'true'], () =>
    existsSync(join(folder, 'called')),
  );
  t.is(sent.code, 130);
  t.regex(sent.stderr, /Nobody knows whether held took job ([0-9a-f]{8}): "apppot jobs reconcile \1"/);
  t.deepEqual(states(await apppot('jobs', 'list', '--json')), ['staging']);
});

test('a job that should follow one that failed is refused, although nobody has asked about that one yet', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { folder, apppot } = await desk(t, parts);
  const first = (await apppot('submit', '--', 'sh', '-c', 'exit 3')).stdout.trim();
  t.regex(first, /^[0-9a-f]{8}$/);
  const sandboxes = join(folder, '..', '.local', 'state', 'apppot', 'sandboxes', 'local');
  const { id } = (JSON.parse((await apppot('jobs', 'list', '--json')).stdout) as { id: string }[])[0] ?? {};
  // The journal is not asked: it must not know of the end before the next job is sent.
  while (!existsSync(join(sandboxes, id ?? '', '0', 'outcome.json'))) await delay(50);
  const next = await apppot('submit', '-d', `afterok:${first}`, '--', 'true');
  t.is(next.code, 1);
  t.regex(next.stderr, /did not succeed/);
  const any = await apppot('submit', '-W', '-d', `afterany:${first}`, '--', 'true');
  t.is(any.code, 0);
});

test('words that were mistyped are answered with those that were meant, and bytes that are no text are refused', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const { folder, apppot } = await desk(t, parts);
  t.regex((await apppot('submit', '--to', 'locla', '--', 'true')).stderr, /Did you mean local\?/);
  t.regex((await apppot('jobs', 'list', '--state', 'runing')).stderr, /Did you mean running\?/);
  await writeFile(join(folder, 'apppot.ini'), '[target c]\ntype = slurm\npartion = x\n');
  t.regex((await apppot('targets', 'list')).stderr, /no "partion"\. Did you mean partition\?/);
  await writeFile(join(folder, 'apppot.ini'), '[run]\nmemroy = 2G\nmme = 1G\n');
  t.regex((await apppot('config')).stderr, /no setting run\.mme\. Did you mean run\.mem\?/);
  const main = packageFile('dist', 'src', 'cli', 'main.js');
  for (const [command, code] of [
    ['submit --dry-run', 2],
    ['run', 125],
  ] as const) {
    // Node.js itself cannot pass such bytes on: a shell does.
    const script = `exec '${process.execPath}' '${main}' ${command} -- printf "$(printf '\\377')"`;
    const child = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    t.is((await once(child, 'close'))[0], code);
    t.regex(said, /is not UTF-8/);
  }
});
