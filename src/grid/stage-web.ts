import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { request } from 'undici';
import { ApppotError } from '../errors.ts';
import { counter } from './transport/parts.ts';
import type { Staged, StageOptions } from './stage-folder.ts';
import type { StageItem } from './stage-items.ts';

/** What is to be copied by hand, where the web space takes nothing from us. */
export interface WebResult {
  readonly staged: readonly Staged[];
  readonly toCopy: readonly { readonly item: StageItem; readonly url: string; readonly why: string }[];
}

/**
 * Puts items into web space by PUT, and reads each back to compare its digest. What is there with the right size and
 * digest is not sent again.
 *
 * @param baseUrl of the web space that the user names
 * @throws ApppotError `transport` when it cannot be reached, `target` when something else is there under the name
 */
export async function stageToWeb(
  baseUrl: string,
  items: readonly StageItem[],
  { progress, signal }: StageOptions,
): Promise<WebResult> {
  const staged: Staged[] = [];
  const toCopy: { item: StageItem; url: string; why: string }[] = [];
  for (const item of items) {
    const url = `${baseUrl.replace(/\/+$/, '')}/${item.name}`;
    await progress.step(`${item.name} to ${new URL(url).host}`, async (step) => {
      const show = (bytes: number): void => {
        step.update(`${Math.floor((bytes / (item.size || 1)) * 100)} %`);
      };
      if (await isThere(url, item, show, signal)) {
        step.skip('is there already');
        staged.push({ item, place: url, sent: false });
        return;
      }
      const why = await put(url, item, show, signal);
      if (why === undefined && (await isThere(url, item, show, signal))) {
        staged.push({ item, place: url, sent: true });
        return;
      }
      step.skip('has to be copied by hand');
      toCopy.push({ item, url, why: why ?? 'the server took it, and gives something else back' });
    });
  }
  return { staged, toCopy };
}

/** Whether the content is there: read and digested, for a server's word about a file is not the file. */
async function isThere(
  url: string,
  item: StageItem,
  show: (bytes: number) => void,
  signal: AbortSignal,
): Promise<boolean> {
  const head = await ask(url, { method: 'HEAD', signal });
  await head.body.dump();
  if (head.statusCode !== 200) return false;
  const length = head.headers['content-length'];
  if (length !== undefined && Number(length) !== item.size) return false;
  const answer = await ask(url, { method: 'GET', signal });
  if (answer.statusCode !== 200) {
    await answer.body.dump();
    return false;
  }
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of answer.body) {
      bytes += (chunk as Uint8Array).length;
      // An endless answer is none of ours; leaving the loop ends it.
      if (bytes > item.size) return false;
      hash.update(chunk as Uint8Array);
      show(bytes);
    }
  } catch (cause) {
    signal.throwIfAborted();
    throw unreachable(url, cause);
  }
  return hash.digest('hex') === item.digest;
}

/** @returns why the server does not take it; undefined when it did */
async function put(
  url: string,
  item: StageItem,
  show: (bytes: number) => void,
  signal: AbortSignal,
): Promise<string | undefined> {
  const answer = await ask(url, {
    method: 'PUT',
    body: createReadStream(item.source).pipe(counter(show, 0)),
    signal,
    headers: { 'content-length': String(item.size), 'content-type': 'application/octet-stream' },
  });
  await answer.body.dump();
  return answer.statusCode < 300 ? undefined : `PUT was answered with ${answer.statusCode}`;
}

interface Options {
  readonly method: 'HEAD' | 'GET' | 'PUT';
  readonly signal: AbortSignal;
  readonly body?: Readable;
  readonly headers?: Record<string, string>;
}

async function ask(url: string, options: Options): Promise<Awaited<ReturnType<typeof request>>> {
  try {
    return await request(url, options);
  } catch (cause) {
    options.signal.throwIfAborted();
    throw unreachable(url, cause);
  }
}

function unreachable(url: string, cause: unknown): ApppotError {
  return new ApppotError('transport', `Cannot reach ${new URL(url).host}: ${(cause as Error).message}.`, {
    cause,
    transient: true,
    hint: 'base_url of the target has to be web space that this machine and the site can reach.',
  });
}
