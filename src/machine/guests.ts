import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { ApppotError } from '../errors.ts';

/** A guest that runs on this machine, of this user. */
export interface Guest {
  /** Name of its run folder: `--id`, or the supervisor's process id. */
  readonly id: string;
  /** Process id of the supervisor. */
  readonly pid: number;
  /** The folder that the guest sees as its job folder. */
  readonly jobFolder: string;
  /** A short path of the run folder, whatever the length of the real one. */
  readonly runFolder: string;
  readonly image: string;
  readonly program: readonly string[];
  /** Seconds since the epoch. */
  readonly started: number;
}

/**
 * Finds the running guests of this user: supervisors, whose working folder is the run folder. Nothing is
 * registered anywhere, so nothing can be stale.
 *
 * @see proc(5)
 */
export async function listGuests(): Promise<readonly Guest[]> {
  const own = process.getuid?.() ?? 0;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(pids.map((pid) => guestOf(pid, own)));
  return found.filter((guest) => guest !== undefined).sort((a, b) => a.started - b.started || a.pid - b.pid);
}

/**
 * The one guest called `id`.
 *
 * @throws ApppotError `not-found` when there is none, `usage` when several folders have one of this name
 */
export async function findGuest(id: string): Promise<Guest> {
  const all = await listGuests();
  const matches = all.filter((guest) => guest.id === id || String(guest.pid) === id);
  const [guest, ...others] = matches;
  if (guest === undefined) {
    const running = all.map((one) => one.id).join(', ');
    throw new ApppotError('not-found', `There is no running guest "${id}".`, {
      hint: running === '' ? 'No guest of yours runs on this machine.' : `Running: ${running}.`,
    });
  }
  if (others.length > 0) {
    throw new ApppotError('usage', `Several guests are called "${id}".`, {
      hint: `Give a process id: ${matches.map(({ pid }) => pid).join(', ')}.`,
    });
  }
  return guest;
}

async function guestOf(pid: string, own: number): Promise<Guest | undefined> {
  const folder = `/proc/${pid}`;
  try {
    const status = await stat(folder);
    if (status.uid !== own) return undefined;
    const runFolder = await readlink(`${folder}/cwd`);
    const parent = dirname(runFolder);
    const words = (await readFile(`${folder}/cmdline`, 'utf8')).split('\0').slice(0, -1);
    // The supervisor, not the kernel beside it, which works in the same folder.
    if (!words.includes('--kernel') || !words.includes('--words')) return undefined;
    if (basename(parent) !== '.apppot' && !basename(runFolder).startsWith('apppot-')) return undefined;
    return {
      id: basename(runFolder),
      pid: Number(pid),
      jobFolder:
        optionValue(words, '--job-folder') === '.'
          ? dirname(parent)
          : (optionValue(words, '--job-folder') ?? ''),
      runFolder: `${folder}/cwd`,
      image: optionValue(words, '--image') ?? '',
      program: programWords(words),
      started: Math.round(status.ctimeMs / 1000),
    };
  } catch {
    // Gone meanwhile, or not ours to read.
    return undefined;
  }
}

function optionValue(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(name);
  return at < 0 ? undefined : words[at + 1];
}

function programWords(words: readonly string[]): readonly string[] {
  const start = words.indexOf('--') + 1;
  return start === 0 ? [] : words.slice(start, start + Number(optionValue(words, '--words') ?? 0));
}
