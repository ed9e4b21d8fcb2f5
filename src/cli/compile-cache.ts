import * as module from 'node:module';

/** Keeps compiled code between runs where Node.js can (22.1 and later): a launch starts tens of milliseconds sooner. */
export function enableCompileCache(): void {
  const found = Object.entries(module).find(([name]) => name === 'enableCompileCache');
  if (typeof found?.[1] === 'function') (found[1] as () => unknown)();
}
