/** Is a disk of a guest in use? */
import { readFile, stat } from 'node:fs/promises';
import { ApppotError } from '../errors.ts';

/**
 * Refuses a file that a process writes to as a disk: a guest's kernel locks what it writes (fcntl(2)), and the locks of
 * this machine can be read by everyone.
 *
 * @throws ApppotError `locked`
 * @see proc_locks(5)
 */
export async function refuseInUse(file: string, what: string): Promise<void> {
  const status = await stat(file, { bigint: true }).catch(() => undefined);
  if (status === undefined) return;
  const owner = (await readFile('/proc/locks', 'utf8').catch(() => ''))
    .split('\n')
    .map((line) => /^\d+: \S+ +\S+ +WRITE +(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /.exec(line))
    .find(
      (match) =>
        match !== null &&
        BigInt(match[4] ?? '0') === status.ino &&
        device(match[2] ?? '', match[3] ?? '') === status.dev,
    )?.[1];
  if (owner === undefined) return;
  throw new ApppotError('locked', `A guest (process ${owner}) writes to ${what} right now.`, {
    hint: 'End it first: "apppot ps" lists guests, "apppot stop" ends one.',
  });
}

/** A device number as stat(2) has it, from its hexadecimal halves. */
function device(majorHex: string, minorHex: string): bigint {
  const [major, minor] = [BigInt(`0x${majorHex}`), BigInt(`0x${minorHex}`)];
  return ((major & 0xfffn) << 8n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n);
}
