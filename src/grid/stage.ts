import type { Target } from '../config/targets.ts';
import { ApppotError } from '../errors.ts';
import { siteFolder } from './site-folder.ts';
import { stageToFolder, type Staged, type StageOptions } from './stage-folder.ts';
import { stageItems, type StageItem } from './stage-items.ts';
import { stageToWeb } from './stage-web.ts';
import { openTransport, type OpenOptions } from './transport/open.ts';

export interface StageRequest {
  /** Image here. */
  readonly image?: string | undefined;
  readonly runtime: boolean;
  /** Only say what would be put where. */
  readonly dryRun: boolean;
}

export interface StageResult {
  readonly staged: readonly Staged[];
  readonly toCopy: readonly { readonly item: StageItem; readonly url: string; readonly why: string }[];
  /** Lines for the target's section, so that jobs use what is there. */
  readonly settings: readonly string[];
}

/**
 * Puts runtime and image to a target's site.
 *
 * @throws ApppotError `target` when this kind of target has no place for them, and what the ways there throw
 */
export async function stage(
  target: Target,
  request: StageRequest,
  options: OpenOptions & StageOptions,
): Promise<StageResult> {
  if (target.type === 'local')
    throw new ApppotError(
      'target',
      `Target "${target.name}" is this machine: jobs use images where they are.`,
    );
  const items = await stageItems(request, options.signal);
  if (target.type === 'arc') return stageArc(target.name, target.baseUrl, items, request, options);
  const transport = await openTransport(target, options);
  try {
    const root = await siteFolder(target, transport, options.signal);
    const staged = request.dryRun
      ? items.map((item) => ({ item, place: `${root}/${item.name}`, sent: false }))
      : await stageToFolder(transport, root, items, options);
    const settings = staged.flatMap(({ item, place }) => setting(item, place, 'site:'));
    return { staged, toCopy: [], settings };
  } finally {
    await transport.close();
  }
}

async function stageArc(
  name: string,
  baseUrl: string | undefined,
  items: readonly StageItem[],
  request: StageRequest,
  options: StageOptions,
): Promise<StageResult> {
  if (baseUrl === undefined)
    throw new ApppotError(
      'target',
      `Target "${name}" has no base_url: an ARC site gives users nowhere to stage to.`,
      {
        hint: `Name web space of yours that the site can reach: base_url = https://… in [target ${name}]; or ask the site for its runtime environment (rte = ENV/APPPOT).`,
      },
    );
  const urls = items.map((item) => ({ item, url: `${baseUrl.replace(/\/+$/, '')}/${item.name}` }));
  const settings = urls.flatMap(({ item, url }) => setting(item, url, ''));
  if (request.dryRun)
    return { staged: [], toCopy: urls.map((one) => ({ ...one, why: 'dry run' })), settings };
  return { ...(await stageToWeb(baseUrl, items, options)), settings };
}

function setting(item: StageItem, place: string, prefix: string): string[] {
  if (item.kind === 'image') return [`image = ${prefix}${place}`];
  return item.name.endsWith('/apppot-start') ? [`runtime = ${place.slice(0, place.lastIndexOf('/'))}`] : [];
}
