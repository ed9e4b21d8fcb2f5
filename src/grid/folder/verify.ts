import { ApppotError } from '../../errors.ts';
import type { Transport } from '../transport/transport.ts';

/**
 * True when the file at the target has this content. It is read there: gigabytes on a busy file system take their time.
 *
 * @param digest SHA-256, in hexadecimal digits
 * @throws ApppotError `target` when it cannot be read; what the transport throws
 * @see sha256sum(1)
 */
export async function hasDigest(
  transport: Transport,
  path: string,
  digest: string,
  signal: AbortSignal,
): Promise<boolean> {
  // Not `sha256sum FILE`: it escapes odd names.
  const { code, stdout, stderr } = await transport.run(['sh', '-c', 'sha256sum <"$1"', 'sh', path], {
    signal,
    timeout: 30 * 60_000,
  });
  if (code !== 0)
    throw new ApppotError('target', `Cannot check ${path} on ${transport.name}: ${stderr.trim()}`);
  return stdout.startsWith(digest);
}

/** For what was sent and is not what it should be; it has been removed. */
export function damaged(transport: Transport, name: string): ApppotError {
  return new ApppotError('target', `${name} arrived damaged on ${transport.name}, and is removed.`, {
    hint: 'Try again; if it happens again, the file system there is not sound.',
  });
}
