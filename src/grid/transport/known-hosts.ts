/** Whether a host is the one that it was: known_hosts as OpenSSH reads it, and nothing is ever added here. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { matchesList } from './ssh-config.ts';

/** One line of known_hosts that is about a host. */
export interface KnownKey {
  readonly file: string;
  readonly line: number;
  readonly marker: 'revoked' | 'cert-authority' | undefined;
  readonly type: string;
  readonly key: Buffer;
}

/** What a host's key is to us. */
export type Verdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'revoked' | 'changed'; readonly entry: KnownKey };

/** The name under which a host is listed: `host`, or `[host]:port` for a port of its own. */
export function knownName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/**
 * All lines about a host. Files that are not there say nothing.
 *
 * @see sshd(8), SSH_KNOWN_HOSTS FILE FORMAT
 */
export function findKnownKeys(files: readonly string[], name: string): KnownKey[] {
  return files.flatMap((file) => {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      return [];
    }
    return text.split(/\r?\n/).flatMap((line, at) => readLine(line, name, file, at + 1));
  });
}

/** Judges the key that a host showed. A key that was revoked anywhere for this host is never accepted. */
export function judge(known: readonly KnownKey[], key: Buffer): Verdict {
  const same = known.filter((entry) => entry.key.equals(key));
  const revoked = same.find(({ marker }) => marker === 'revoked');
  if (revoked !== undefined) return { kind: 'revoked', entry: revoked };
  if (same.some(({ marker }) => marker === undefined)) return { kind: 'known' };
  const other = known.find(({ marker }) => marker === undefined);
  return other === undefined ? { kind: 'unknown' } : { kind: 'changed', entry: other };
}

/** An RSA key signs with these; "ssh-rsa" as a signature is SHA-1, which nobody should accept any more. */
const RSA = ['rsa-sha2-512', 'rsa-sha2-256'];
const ALGORITHMS = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  ...RSA,
];

/**
 * What the host is asked for: kinds of keys that are known first, so that they can be compared, as ssh does it. The
 * others follow: a host that has none of the known kinds any more has changed, which is to be said.
 */
export function wantedAlgorithms(known: readonly KnownKey[]): string[] {
  const types = known.filter(({ marker }) => marker === undefined).map(({ type }) => type);
  const first = types.flatMap((type) => (type === 'ssh-rsa' ? RSA : ALGORITHMS.includes(type) ? [type] : []));
  return [...new Set([...first, ...ALGORITHMS])];
}

/** As `ssh-keygen -l` shows it: SHA256:… */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}

/** Type of a key in the SSH wire format (RFC 4253, 6.6): its first string. */
export function keyType(key: Buffer): string {
  return key.length < 4 ? '' : key.subarray(4, 4 + key.readUInt32BE(0)).toString('latin1');
}

function readLine(line: string, name: string, file: string, number: number): KnownKey[] {
  const words = line.trim().split(/[ \t]+/);
  if (words[0]?.startsWith('#') === true) return [];
  const mark = words[0]?.startsWith('@') === true ? words.shift() : undefined;
  const [hosts = '', type = '', base64 = ''] = words;
  if (base64 === '' || !namesHost(hosts, name)) return [];
  if (mark !== undefined && mark !== '@revoked' && mark !== '@cert-authority') return [];
  const key = Buffer.from(base64, 'base64');
  if (keyType(key) !== type) return [];
  const marker = mark?.slice(1) as KnownKey['marker'];
  return [{ file, line: number, marker, type, key }];
}

function namesHost(hosts: string, name: string): boolean {
  const hashed = /^\|1\|([^|]+)\|([^|]+)$/.exec(hosts);
  if (hashed === null) return matchesList(hosts.toLowerCase().split(','), name.toLowerCase());
  const wanted = Buffer.from(hashed[2] ?? '', 'base64');
  const got = createHmac('sha1', Buffer.from(hashed[1] ?? '', 'base64'))
    .update(name)
    .digest();
  return wanted.length === got.length && timingSafeEqual(wanted, got);
}
