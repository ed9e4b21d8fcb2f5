/** Names of unfinished files: who makes them can be told, so that what a killed process left is removed by the next. */
import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../errors.ts';

/** A new name beside a file, for its next state. */
export function partName(file: string): string {
  return join(dirname(file), `${prefixOf(file)}${process.pid}-${randomBytes(4).toString('hex')}.part`);
}

/** Removes unfinished states of a file that processes of this machine left which are gone. */
export async function removeParts(file: string): Promise<void> {
  const prefix = prefixOf(file);
  for (const name of await readdir(dirname(file)).catch(() => [])) {
    if (!name.startsWith(prefix) || !name.endsWith('.part')) continue;
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    if (!Number.isNaN(pid) && !isAlive(pid)) await rm(join(dirname(file), name), { force: true });
  }
}

function prefixOf(file: string): string {
  return `.${basename(file)}.${hostname().slice(0, 40)}-`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}
