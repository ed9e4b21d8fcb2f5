/** One build at a time: a lock file that outlives no owner, not even a killed one. */
import { randomUUID } from 'node:crypto';
import { link, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../errors.ts';

/** Waiters look this often, in milliseconds. */
const POLL_MS = 200;
/** A breaker that did not end its work in this time is dead itself. */
const BREAK_MS = 10_000;
/** A lock of another host (a shared home folder) counts this long. */
const FOREIGN_MS = 3_600_000;

/**
 * Runs `work` while this process holds `file`, waiting for its turn first.
 *
 * @param file the lock, in a folder that is there and belongs to the user
 * @param onWait called once, with the owner's process number, when there is something to wait for
 */
export async function withLock<T>(
  file: string,
  signal: AbortSignal,
  onWait: (owner: string) => void,
  work: () => Promise<T>,
): Promise<T> {
  // Two builds of one process are two owners, too.
  const mine = `${file}.${process.pid}.${randomUUID()}`;
  await writeFile(mine, ownerText());
  try {
    let told = false;
    for (;;) {
      signal.throwIfAborted();
      // link() fails when the name is taken: the content is complete before the lock exists.
      if (await tryTo(() => link(mine, file))) break;
      const owner = await readFile(file, 'utf8').catch(() => '');
      if (owner !== '' && (await isGone(owner, file))) {
        await breakLock(file, owner);
        continue;
      }
      if (!told && owner !== '') {
        onWait(owner.split(' ')[1] ?? '?');
        told = true;
      }
      await delay(POLL_MS, undefined, { signal });
    }
    try {
      return await work();
    } finally {
      await rm(file, { force: true });
    }
  } finally {
    await rm(mine, { force: true });
  }
}

/**
 * Takes `file` if nobody holds it, and does not wait.
 *
 * @param file the lock, in a folder that is there and belongs to the user
 * @returns what gives it back; undefined when it is taken
 */
export async function tryLock(file: string): Promise<(() => Promise<void>) | undefined> {
  const mine = `${file}.${process.pid}.${randomUUID()}`;
  await writeFile(mine, ownerText(), { mode: 0o600 });
  try {
    for (const mayBreak of [true, false]) {
      if (await tryTo(() => link(mine, file))) return () => rm(file, { force: true });
      const owner = await readFile(file, 'utf8').catch(() => '');
      if (!mayBreak || owner === '' || !(await isGone(owner, file))) return undefined;
      await breakLock(file, owner);
    }
    return undefined;
  } finally {
    await rm(mine, { force: true });
  }
}

function ownerText(): string {
  return `${hostname()} ${process.pid} ${startTime(process.pid)}`;
}

/** Only one process ever removes the lock of a given dead owner: who makes the file that is named after it. */
async function breakLock(file: string, owner: string): Promise<void> {
  const breaker = `${file}.break.${owner.split(' ').slice(1).join('.')}`;
  if (await tryTo(() => writeFile(breaker, '', { flag: 'wx' }))) {
    if ((await readFile(file, 'utf8').catch(() => '')) === owner) await unlink(file);
    await rm(breaker, { force: true });
    return;
  }
  const age = await stat(breaker).then(
    (status) => Date.now() - status.mtimeMs,
    () => 0,
  );
  if (age > BREAK_MS) await rm(breaker, { force: true });
  await delay(POLL_MS);
}

async function isGone(owner: string, file: string): Promise<boolean> {
  const [host, pid = '', start = ''] = owner.split(' ');
  if (host !== hostname()) {
    const status = await stat(file).catch(() => undefined);
    return status !== undefined && Date.now() - status.mtimeMs > FOREIGN_MS;
  }
  return startTime(Number(pid)) !== start;
}

/** When a process started, in clock ticks since boot (proc(5), field 22 of stat): tells re-used numbers apart. */
function startTime(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return fields.slice(fields.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return 'gone';
  }
}

async function tryTo(action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}
