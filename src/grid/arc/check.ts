/** `apppot targets check` for a computing element: tries it for real. */
import { existsSync } from 'node:fs';
import { request } from 'undici';
import { ApppotError } from '../../errors.ts';
import type { CheckLine } from '../backend.ts';
import type { ArcClient } from './client.ts';
import { humanDuration, secondsLeft } from './credentials.ts';
import { connectionError } from './refusals.ts';
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
  const { rte, runtime, image, baseUrl } = settings;
  if (rte !== undefined) await attempt('runtime', () => checkRte(state.info, rte));
  if (runtime !== undefined && isWeb(runtime))
    await attempt('runtime', () => checkWeb(`${runtime.replace(/\/+$/, '')}/apppot-start`, runtime, signal));
  if (image !== undefined) await attempt('image', () => checkImage(image, signal));
  if (baseUrl !== undefined)
    await attempt('base_url', () => checkWeb(`${baseUrl.replace(/\/+$/, '')}/`, baseUrl, signal, true));
  return lines;
}

function isWeb(place: string): boolean {
  return /^https?:/.test(place);
}

function checkImage(image: string, signal: AbortSignal): Promise<string> | string {
  if (isWeb(image)) return checkWeb(image, image, signal);
  if (image.startsWith('site:')) return `${image}, which cannot be seen from here`;
  if (existsSync(image)) return `${image}, sent with each job (apppot targets stage puts it into web space)`;
  throw new ApppotError('not-found', `There is no image ${image}.`, {
    hint: 'image of the target is a file here, or the URL of one that the site fetches.',
  });
}

/** Whether something is there, without any name of ours: the site's worker is somebody else. */
async function checkWeb(url: string, shown: string, signal: AbortSignal, isFolder = false): Promise<string> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(20_000)]);
  let answer: Awaited<ReturnType<typeof request>>;
  try {
    answer = await request(url, { method: 'HEAD', signal: limit });
    await answer.body.dump();
  } catch (cause) {
    signal.throwIfAborted();
    const { message } = connectionError(new URL(url).host, cause);
    throw new ApppotError('transport', message, {
      cause,
      hint: 'The site has to reach it, too. If it can, and only this machine cannot, all is well.',
    });
  }
  const { statusCode: status } = answer;
  const size = Number(answer.headers['content-length'] ?? Number.NaN);
  // A folder of web space need not be listed.
  if (status < 300 || (isFolder && status < 500))
    return isFolder || Number.isNaN(size) ? shown : `${shown} (${(size / 1024 ** 2).toFixed(1)} MiB)`;
  throw new ApppotError('target', `${url} is answered with ${status}.`, {
    hint: 'apppot targets stage puts runtime and images there.',
  });
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
