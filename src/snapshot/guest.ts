/** A guest that reads or changes the file system of an image: without root, mount or FUSE on this side. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { loadSettings } from '../config/load.ts';
import { ApppotError, type ErrorCode } from '../errors.ts';
import { makeScratch, removeFolder } from '../image/scratch.ts';
import { launchCommand } from '../machine/launch.ts';
import { runPiped } from '../process/pipe.ts';
import type { Step } from '../progress.ts';
import { collector, engineError, Listener, snapRuntime, type Answer } from './engine.ts';
import type { Source } from './source.ts';

/** One call of the engine in a guest. */
export interface GuestCall {
  /** The disks; what the guest writes to them is kept only with `write`. */
  readonly source: Source;
  readonly write: boolean;
  /** Words for apppot-snap. */
  readonly words: readonly string[];
  /** Bytes for its standard input. */
  readonly stdin?: Readable;
  /** Where its standard output goes: an archive. Without it the answer is read from there. */
  readonly stdout?: Writable;
  /** What is being done, for the sentence of an error. */
  readonly what: string;
  readonly step: Step;
  readonly signal: AbortSignal;
}

/** Folders of killed calls are found by their name, and removed by the next one. */
const PREFIX = 'apppot-snap-';

/** Memory of the guest: the lists of a million files fit; without more the page cache does not grow on our side. */
const MEMORY = '1G';

/** The manifest of an empty tree: against it everything is added. */
export const NOTHING_BASE = '/home/user/job/nothing.base';
const NOTHING = 'd\t0000\t0\t0\t-\t0.000000000\t-\t-\t-\t-\t-\t.\n';

/**
 * Makes a private folder for one piece of work; `work` may fill it, and it goes away afterwards.
 */
export async function withScratch<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await makeScratch(removeFolder, PREFIX);
  try {
    return await work(folder);
  } finally {
    await removeFolder(folder);
  }
}

/**
 * Boots the source, runs apppot-snap of the runtime in it as its root, and switches it off. The engine comes with the
 * job folder, so it does not matter what the image has installed.
 *
 * @throws ApppotError of the engine ({@link engineError}), `locked`, `image-invalid`, `launch` when the guest cannot be
 *   started, `interrupted`
 */
export async function callInGuest(call: GuestCall, scratch: string): Promise<Answer> {
  const runtime = await snapRuntime();
  const job = join(scratch, 'job');
  const outcome = join(scratch, 'outcome.json');
  await mkdir(job, { recursive: true, mode: 0o700 });
  await copyFile(runtime.snap, join(job, 'apppot-snap'));
  await writeFile(join(job, 'nothing.base'), NOTHING);
  const options = [
    ...sourceWords(call),
    ...['--job-folder', job, '--outcome', outcome, '--mem', loadSettings().mem?.value ?? MEMORY],
    ...['--network', 'none', '--grace', '2', '--as-root', '--quiet', '--env', 'APPPOT_SNAP_STILL=1'],
    ...(call.stdin === undefined ? ['--no-stdin'] : []),
  ];
  const program = ['/home/user/job/apppot-snap', '--json', '--progress', ...call.words];
  const command = launchCommand({ start: runtime.start }, { options, program });
  const listener = new Listener(call.step);
  // Without a stream for an archive, standard output holds the answer.
  const own = collector();
  const { code } = await runPiped('/bin/sh', command, {
    cwd: scratch,
    signal: call.signal,
    stdin: call.stdin,
    stdout: call.stdout ?? own.sink,
    onLine: listener.line,
  });
  if (call.stdout === undefined) listener.json(await own.text());
  const answer = listener.answer(code);
  if (code === 0) return answer;
  await refuseOutcome(outcome, call.what);
  throw engineError(call.what, answer);
}

function sourceWords({ source, write }: GuestCall): readonly string[] {
  const words = ['--image', source.image];
  if (source.cow !== undefined) words.push('--overlay', source.cow);
  else if (write) words.push('--write');
  return [...words, ...source.layers.flatMap((layer) => ['--changes', layer])];
}

/** Codes of a launch (docs/errors.md) that are known here by another name. */
const LAUNCH_CODES: Readonly<Record<string, ErrorCode>> = {
  'in-use': 'locked',
  'no-space': 'no-space',
  'image-missing': 'not-found',
  'image-unreadable': 'permission',
  'image-invalid': 'image-invalid',
  'image-no-apppot': 'image-invalid',
  'image-architecture': 'image-invalid',
  'cow-mismatch': 'image-invalid',
  'cow-invalid': 'image-invalid',
  'changes-missing': 'not-found',
  'changes-damaged': 'archive',
  'changes-base': 'base-mismatch',
};

/** Throws what the launcher found wrong; returns when the job itself failed. */
async function refuseOutcome(file: string, what: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => '');
  if (text === '') {
    throw new ApppotError('launch', `${what} failed: the guest could not be started.`, {
      hint: 'See "apppot doctor".',
    });
  }
  const { error } = JSON.parse(text) as { error?: { code: string; message: string; hint?: string } };
  if (error === undefined) return;
  const message = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}`;
  throw new ApppotError(LAUNCH_CODES[error.code] ?? 'launch', `${what} failed: ${message}.`, {
    hint: error.hint,
  });
}
