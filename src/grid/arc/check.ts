import { ApppotError } from '../../errors.ts';
import type { CheckLine } from '../backend.ts';
import type { ArcSettings } from './backend.ts';
import type { ArcClient } from './client.ts';
import type { ArcCredentials } from './credentials.ts';

/**
 * Tries a computing element: credentials, connection, rights, queue, runtime environment. A line that is not well ends it.
 */
export async function checkArc(
  settings: ArcSettings,
  connect: () => Promise<{ readonly credentials: ArcCredentials; readonly client: ArcClient }>,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = [];
  const attempt = async <T>(
    title: string,
    work: () => Promise<{ detail: string; value: T }>,
  ): Promise<T | undefined> => {
    try {
      const { detail, value } = await work();
      lines.push({ title, ok: true, detail });
      return value;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ApppotError)) throw error;
      const { message, hint } = error;
      lines.push({ title, ok: false, detail: message, ...(hint === undefined ? {} : { hint }) });
      return undefined;
    }
  };
  const connection = await attempt('credentials', async () => {
    const value = await connect();
    const { origin, expires, token } = value.credentials;
    const until = expires === undefined ? '' : `, valid until ${expires.toISOString()}`;
    return { value, detail: `${token === undefined ? 'certificate' : 'token'} of ${origin}${until}` };
  });
  if (connection === undefined) return lines;
  const { client } = connection;
  const jobs = await attempt('access', async () => {
    const value = await client.jobs(await client.send('GET', ['jobs'], { signal }));
    return { value, detail: `${settings.endpoint} knows ${value.length} jobs of yours` };
  });
  if (jobs === undefined) return lines;
  const info = await attempt('information', async () => {
    const value = await client.text(
      await client.send('GET', ['info'], { signal, query: { schema: 'glue2' } }),
    );
    return { value, detail: `${value.length} bytes about the site` };
  });
  if (info === undefined) return lines;
  for (const [title, wanted] of [
    ['queue', settings.queue],
    ['runtime environment', settings.rte],
  ] as const) {
    if (wanted === undefined) continue;
    await attempt(title, () => {
      // Names stand in elements of their own, or, for runtime environments, as the end of an identifier.
      const known = [...info.matchAll(/"(?:Name|AppName|MappingQueue|ID)":\s*"([^"]+)"/g)].map(
        (match) => match[1] ?? '',
      );
      if (known.some((name) => name === wanted || name.endsWith(`:${wanted}`)))
        return Promise.resolve({ value: undefined, detail: wanted });
      throw new ApppotError('target', `The site has no ${title} ${wanted}.`, {
        hint: 'Its information names the ones that it has; it may be a minute old.',
      });
    });
  }
  return lines;
}
