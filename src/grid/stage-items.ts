/** What a site can keep so that jobs need not bring it: the runtime and an image, under names that say their content. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ApppotError } from '../errors.ts';
import { digestOf } from '../job/digest.ts';
import { findRuntime } from '../runtime/find.ts';

/** One file to keep at a site. */
export interface StageItem {
  readonly kind: 'image' | 'runtime';
  /** File here. */
  readonly source: string;
  /** Path below the site's folder or web space; changed content gets another name. */
  readonly name: string;
  readonly digest: string;
  readonly size: number;
  readonly executable: boolean;
}

/** The programs of a runtime that a launch needs. */
const PROGRAMS = ['apppot-start', 'linux', 'linux-smp', 'slirp'];

/**
 * The files for a site.
 *
 * @param image a file here; only the runtime without it
 * @throws ApppotError `runtime-missing`, `not-found`
 */
export async function stageItems(
  request: { readonly image?: string | undefined; readonly runtime: boolean },
  signal: AbortSignal,
): Promise<readonly StageItem[]> {
  return [
    ...(request.runtime ? await runtimeItems(signal) : []),
    ...(request.image === undefined ? [] : [await imageItem(request.image, signal)]),
  ];
}

async function runtimeItems(signal: AbortSignal): Promise<readonly StageItem[]> {
  const { folder } = await findRuntime();
  if (folder === undefined)
    throw new ApppotError('runtime-missing', 'There is no built runtime here that a site could get.', {
      hint: 'Build one: "apppot runtime build".',
    });
  const found: StageItem[] = [];
  for (const program of PROGRAMS) {
    const source = join(folder, program);
    const status = await stat(source).catch(() => undefined);
    if (status === undefined) continue;
    const digest = await digestOf(source, signal);
    found.push({ kind: 'runtime', source, name: program, digest, size: status.size, executable: true });
  }
  const whole = createHash('sha256');
  for (const { name, digest } of found) whole.update(`${name}\0${digest}\n`);
  const home = `runtimes/${whole.digest('hex').slice(0, 16)}`;
  return found.map((item) => ({ ...item, name: `${home}/${item.name}` }));
}

async function imageItem(source: string, signal: AbortSignal): Promise<StageItem> {
  const status = await stat(source).catch((cause: unknown) => {
    throw new ApppotError('not-found', `There is no image ${source}.`, { cause });
  });
  const digest = await digestOf(source, signal);
  const stem = basename(source, '.img').replace(/[^A-Za-z0-9._-]/g, '_');
  const name = `images/${stem}-${digest.slice(0, 16)}.img`;
  return { kind: 'image', source, name, digest, size: status.size, executable: false };
}
