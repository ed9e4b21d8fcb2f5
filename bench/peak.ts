import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { start } from './processes.ts';

/** Not the desktop's: the guest's memory, and its supervisor. */
const GUEST = new Set(['linux', 'linux-smp', 'slirp', 'uml-userspace']);

/**
 * Runs a program and adds up the memory of it and of all that it starts, guests left out, every 50 milliseconds. Each
 * process counts with the most that it has had (VmHWM, proc_pid_status(5)), so nothing is missed between two looks.
 *
 * @returns the largest sum, in megabytes
 */
export async function peakMemory(words: readonly string[], cwd: string): Promise<number> {
  const work = start(words, { cwd });
  for (let peak = 0; ;) {
    const ended = await Promise.race([work, sleep(50)]);
    if (ended !== undefined) return peak;
    peak = Math.max(peak, await memoryBelow(process.pid));
  }
}

/** Megabytes of all processes below one, itself not counted. */
async function memoryBelow(top: number): Promise<number> {
  const parents = new Map<number, number>();
  const sizes = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/status`, 'utf8').catch(() => '');
    const value = (key: string): string =>
      new RegExp(`^${key}:\\s+(.*?)(?: kB)?$`, 'm').exec(text)?.[1] ?? '';
    parents.set(Number(name), Number(value('PPid')));
    if (!GUEST.has(value('Name'))) sizes.set(Number(name), Number(value('VmHWM')) / 1000);
  }
  const isBelow = (pid: number): boolean => {
    for (let parent = parents.get(pid); parent !== undefined && parent > 0; parent = parents.get(parent))
      if (parent === top) return true;
    return false;
  };
  return [...sizes].reduce((sum, [pid, size]) => sum + (isBelow(pid) ? size : 0), 0);
}
