/** Tries the way to a target's machine and its files; what its batch system needs is the backend's to check. */
import type { SlurmTarget } from '../config/targets.ts';
import { ApppotError } from '../errors.ts';
import type { CheckLine } from './backend.ts';
import { checkSpace } from './space.ts';
import { siteFolder } from './site-folder.ts';
import type { Transport } from './transport/transport.ts';

/**
 * Connection, files, what was staged. Stops where the rest could not work either.
 *
 * @throws only when interrupted; everything else is a line
 */
export async function checkSite(
  target: SlurmTarget,
  transport: Transport,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = [];
  const add = (title: string, ok: boolean, detail: string, hint?: string): void => {
    lines.push({ title, ok, detail, ...(hint === undefined ? {} : { hint }) });
  };
  const started = performance.now();
  try {
    const home = await transport.home(signal);
    add(
      'connection',
      true,
      `${transport.name}, home ${home}, ${(performance.now() - started).toFixed(0)} ms`,
    );
    const root = await siteFolder(target, transport, signal);
    await transport.makeFolder(root, signal);
    // Before anything is written: a full disk is named as one.
    lines.push(await checkSpace(root, transport, signal));
    await checkFolder(root, transport, signal, add);
    await checkNamed(target, transport, signal, add);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof ApppotError)) throw error;
    const hint =
      lines.length === 0
        ? undefined
        : 'Set folder in the target to one that you can write to, and that the nodes see.';
    add(lines.length === 0 ? 'connection' : 'site', false, error.message, error.hint ?? hint);
  }
  return lines;
}

type Add = (title: string, ok: boolean, detail: string, hint?: string) => void;

async function checkFolder(root: string, transport: Transport, signal: AbortSignal, add: Add): Promise<void> {
  const probe = `${root}/.apppot-check`;
  await transport.put(Buffer.from('apppot\n'), probe, { signal });
  const back = await transport.read(probe, { signal });
  await transport.remove(probe, signal);
  if (back?.toString() !== 'apppot\n') {
    add('files', false, `${root} does not give back what was written to it`);
    return;
  }
  add('files', true, `written to ${root} and read back`);
}

async function checkNamed(
  target: SlurmTarget,
  transport: Transport,
  signal: AbortSignal,
  add: Add,
): Promise<void> {
  const { runtime, image, name } = target;
  if (runtime !== undefined) {
    const start = await transport.stat(`${runtime.replace(/^site:/, '')}/apppot-start`, signal);
    add(
      'runtime',
      start !== undefined,
      runtime,
      start ? undefined : `Put it there: apppot targets stage ${name}`,
    );
  }
  if (image?.startsWith('site:') === true) {
    const found = await transport.stat(image.slice('site:'.length), signal);
    add(
      'image',
      found !== undefined,
      image,
      found ? undefined : `Put it there: apppot targets stage ${name} --image FILE`,
    );
  }
}
