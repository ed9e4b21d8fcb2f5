/** Follows the status file of image/build/run-modules: "start NAME" and "end NAME CODE" lines. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** How a module ended. */
export interface ModuleEnd {
  readonly name: string;
  readonly code: number;
}

/** Reads the modules that have ended so far, in order. */
export async function endedModules(file: string): Promise<readonly ModuleEnd[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    const match = /^end (\S+) (\d+)$/.exec(line);
    return match === null ? [] : [{ name: match[1] ?? '', code: Number(match[2]) }];
  });
}

/**
 * Waits until `count` modules have ended or `driverEnd` has settled, whatever comes first.
 *
 * @returns true when that many have ended
 */
export async function waitForModules(
  file: string,
  count: number,
  driverEnd: Promise<unknown>,
): Promise<boolean> {
  const end = driverEnd.then(
    () => 'over' as const,
    () => 'over' as const,
  );
  for (;;) {
    // Asked first, read second: what was written before the end is then there.
    const state = await Promise.race([end, delay(50)]);
    if ((await endedModules(file)).length >= count) return true;
    if (state === 'over') return false;
  }
}
