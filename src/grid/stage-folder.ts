import { posix } from 'node:path';
import { ApppotError } from '../errors.ts';
import type { Progress } from '../progress.ts';
import type { StageItem } from './stage-items.ts';
import { damaged, hasDigest } from './folder/verify.ts';
import type { Transport } from './transport/transport.ts';

/** Where an item is now, and whether it had to be sent. */
export interface Staged {
  readonly item: StageItem;
  readonly place: string;
  readonly sent: boolean;
}

export interface StageOptions {
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Puts items into a folder of the site: into `store/DIGEST`, where jobs look, with a link under a name for people.
 * What is there with the right digest is not sent again.
 *
 * @param root absolute folder at the site
 * @throws ApppotError `target` when what arrived is not what was sent
 */
export async function stageToFolder(
  transport: Transport,
  root: string,
  items: readonly StageItem[],
  { progress, signal }: StageOptions,
): Promise<readonly Staged[]> {
  const staged: Staged[] = [];
  for (const item of items) {
    const place = `${root}/${item.name}`;
    const stored = `${root}/store/${item.digest}`;
    const sent = await progress.step(`${item.name} to ${transport.name}`, async (step) => {
      if (await isThere(transport, stored, item, signal)) {
        step.skip('is there already');
        await link(transport, stored, place, signal);
        return false;
      }
      await transport.makeFolder(posix.dirname(stored), signal);
      await transport.put(item.source, stored, {
        signal,
        mode: 0o700,
        resumeKey: item.digest,
        onBytes: (bytes) => {
          step.update(`${Math.floor((bytes / (item.size || 1)) * 100)} %`);
        },
      });
      step.update('checking its digest');
      if (!(await isThere(transport, stored, item, signal))) {
        await transport.remove(stored, signal);
        throw damaged(transport, item.name);
      }
      await link(transport, stored, place, signal);
      return true;
    });
    staged.push({ item, place, sent });
  }
  return staged;
}

async function isThere(
  transport: Transport,
  path: string,
  item: StageItem,
  signal: AbortSignal,
): Promise<boolean> {
  if ((await transport.stat(path, signal))?.size !== item.size) return false;
  return hasDigest(transport, path, item.digest, signal);
}

/** A name for people beside the content; a hard link, so that an emptied store takes nothing away. */
async function link(transport: Transport, stored: string, place: string, signal: AbortSignal): Promise<void> {
  await transport.makeFolder(posix.dirname(place), signal);
  const script = '[ "$1" -ef "$2" ] || ln -f "$1" "$2" 2>/dev/null || ln -sf "$1" "$2"';
  const { code, stderr } = await transport.run(['sh', '-c', script, 'sh', stored, place], { signal });
  if (code !== 0) throw new ApppotError('target', `Cannot link ${place}: ${stderr.trim()}`);
}
