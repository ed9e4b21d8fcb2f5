/** Processors that local jobs share: a lock file for each, in a folder of the user that nobody else may enter. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { tryLock } from '../../runtime/lock.ts';

type Release = () => Promise<void>;

/**
 * Takes `count` of `total` processors, waiting until they are free. All or none: two who each hold a part would wait
 * for each other. Those of a process that was killed are free again.
 *
 * @param folder of the locks; made when it is not there
 * @returns a function that gives them back; undefined when the task is not wanted any more
 */
export async function takeSlots(
  folder: string,
  count: number,
  total: number,
  isWanted: () => boolean,
): Promise<Release | undefined> {
  const needed = Math.min(count, total);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  while (isWanted()) {
    const held: Release[] = [];
    for (let seat = 0; seat < total && held.length < needed; seat += 1) {
      const release = await tryLock(join(folder, String(seat)));
      if (release !== undefined) held.push(release);
    }
    const releaseAll = async (): Promise<void> => {
      for (const release of held) await release();
    };
    if (held.length === needed) return releaseAll;
    await releaseAll();
    await delay(100 + Math.random() * 200);
  }
  return undefined;
}
