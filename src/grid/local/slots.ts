/** Processors that local jobs share. Names of abstract sockets: the system frees them when their holder dies. */
import { createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Takes `count` of `total` processors, waiting until they are free. All or none: two who each hold a part would wait
 * for each other.
 *
 * @returns a function that gives them back
 */
export async function takeSlots(
  count: number,
  total: number,
  isWanted: () => boolean,
): Promise<(() => void) | undefined> {
  const needed = Math.min(count, total);
  while (isWanted()) {
    const held: Server[] = [];
    for (let seat = 0; seat < total && held.length < needed; seat += 1) {
      const server = await trySeat(seat);
      if (server !== undefined) held.push(server);
    }
    const release = (): void => {
      for (const server of held) server.close();
    };
    if (held.length === needed) return release;
    release();
    await delay(100 + Math.random() * 200);
  }
  return undefined;
}

function trySeat(seat: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(undefined);
    });
    server.listen({ path: `\0apppot-local-${process.getuid?.() ?? 0}-${seat}` }, () => {
      server.unref();
      resolve(server);
    });
  });
}
