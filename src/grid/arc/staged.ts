/** Web space from which sites fetch images and runtimes: names that hold the digest, so that a cached copy is never stale. */
import { basename } from 'node:path';
import { request } from 'undici';
import { digestOf } from '../../job/digest.ts';

/**
 * Where a file is to be in the user's web space.
 *
 * @param digest SHA-256 of the content, hexadecimal
 */
export function stagedUrl(baseUrl: string, digest: string, file: string): string {
  return `${baseUrl.replace(/\/+$/, '')}/apppot/${digest}/${encodeURIComponent(basename(file))}`;
}

/**
 * The URL of a file that has been put into the web space, or undefined when it is not there in its full size.
 */
export async function findStaged(
  baseUrl: string,
  file: string,
  size: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const url = stagedUrl(baseUrl, await digestOf(file, signal), file);
  try {
    const { statusCode, headers, body } = await request(url, { method: 'HEAD', signal });
    await body.dump();
    return statusCode === 200 && Number(headers['content-length']) === size ? url : undefined;
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
