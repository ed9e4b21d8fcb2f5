/** `apppot targets check` for a computing element: tries it for real. */
import { ApppotError } from '../../errors.ts';
import type { CheckLine } from '../backend.ts';
import type { ArcClient } from './client.ts';
import { humanDuration, secondsLeft } from './credentials.ts';
import type { ArcSettings } from './settings.ts';

/** @returns what was tried, up to the first thing that makes the rest pointless */
export async function checkArc(
  client: ArcClient,
  settings: ArcSettings,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = [];
  const attempt = async (title: string, work: () => Promise<string> | string): Promise<boolean> => {
    try {
      lines.push({ title, ok: true, detail: await work() });
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ApppotError)) throw error;
      const hint = error.hint === undefined ? {} : { hint: error.hint };
      lines.push({ title, ok: false, detail: error.message, ...hint });
      return false;
    }
  };
  const state: { info?: unknown } = {};
  const credentialsAre = async (): Promise<string> => {
    const credentials = await client.http.credentials();
    const left = secondsLeft(credentials);
    const good = left === undefined ? '' : `, good for ${humanDuration(left)}`;
    return `${credentials.kind} of ${credentials.subject ?? 'unknown'} in ${credentials.source}${good}`;
  };
  const siteIs = async (): Promise<string> => {
    state.info = await client.info(signal);
    const version = texts(state.info, 'ImplementationVersion')[0];
    return `${client.http.base}${version === undefined ? '' : `, ARC ${version}`}`;
  };
  const jobsAre = async (): Promise<string> => {
    const states = await client.states(signal);
    return `we are let in; ${states.size} jobs of ours are there`;
  };
  if (!(await attempt('credentials', credentialsAre))) return lines;
  if (!(await attempt('site', siteIs))) return lines;
  if (!(await attempt('access', jobsAre))) return lines;
  await attempt('queue', () => checkQueue(state.info, settings.queue));
  if (settings.rte !== undefined) await attempt('runtime', () => checkRte(state.info, settings.rte ?? ''));
  return lines;
}

function checkQueue(info: unknown, queue: string | undefined): string {
  const queues = [...new Set(texts(info, 'MappingQueue'))];
  if (queue === undefined) return `the site chooses (${queues.join(', ')})`;
  if (queues.length === 0 || queues.includes(queue)) return queue;
  throw new ApppotError('target', `The site has no queue "${queue}".`, {
    hint: `It has: ${queues.join(', ')}.`,
  });
}

function checkRte(info: unknown, rte: string): string {
  const known = texts(info, 'AppName').map((name, at) => {
    const version = texts(info, 'AppVersion')[at] ?? '';
    return version === '' ? name : `${name}-${version}`;
  });
  const isThere = [...known, ...texts(info, 'AppName')].some(
    (name) => name.toUpperCase() === rte.toUpperCase(),
  );
  if (isThere) return rte;
  throw new ApppotError('target', `The site has no runtime environment ${rte}.`, {
    hint:
      known.length === 0
        ? 'It has none that it tells of (a new one takes some minutes); without rte AppPot sends its own runtime.'
        : `It has: ${[...new Set(known)].slice(0, 20).join(', ')}; a new one takes some minutes.`,
  });
}

/** Texts of all members of this name, however deep: GLUE2 in JSON is as deep as its XML. */
function texts(node: unknown, name: string): readonly string[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([key, value]: [string, unknown]) =>
    key === name && typeof value === 'string' ? [value] : texts(value, name),
  );
}
