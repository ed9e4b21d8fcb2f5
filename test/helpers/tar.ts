/** Archives made by hand, also ones that no program would write. */
import { createHash } from 'node:crypto';

/** One entry; the header says what is given here, whatever the content is. */
export interface RawEntry {
  readonly name: string;
  readonly type?: string;
  readonly link?: string;
  readonly mode?: number;
  readonly content?: string | Buffer;
  /** The size that the header claims; that of the content by default. */
  readonly size?: number;
  readonly records?: Readonly<Record<string, string>>;
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

function header(
  name: string,
  type: string,
  size: number,
  { mode = 0o644, link = '' }: Partial<RawEntry>,
): Buffer {
  const block = Buffer.alloc(512);
  block.write(name.slice(0, 100), 0, 'latin1');
  const octal = (value: number, at: number, width: number): number =>
    block.write(value.toString(8).padStart(width - 1, '0'), at, 'latin1');
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(1000, 136, 12);
  block.write(type, 156, 'latin1');
  block.write(link.slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  return sealed(block);
}

/** A header with the checksum that belongs to it. */
export function sealed(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function record(key: string, value: string): string {
  const rest = key.length + Buffer.byteLength(value) + 3;
  let total = rest;
  while (total !== rest + String(total).length) total = rest + String(total).length;
  return `${total} ${key}=${value}\n`;
}

function entryBytes(entry: RawEntry): Buffer {
  const content = Buffer.from(entry.content ?? '');
  const records = Object.entries(entry.records ?? {})
    .map(([key, value]) => record(key, value))
    .join('');
  const type = entry.type ?? '0';
  const own = [header(entry.name, type, entry.size ?? content.length, entry), padded(content)];
  if (records === '') return Buffer.concat(own);
  const text = Buffer.from(records);
  return Buffer.concat([header('PaxHeaders/entry', 'x', text.length, {}), padded(text), ...own]);
}

const root: RawEntry = { name: './', type: '5', mode: 0o755 };

/** A changes file up to the end of its entries. */
export function changesStart(base: string, entries: readonly RawEntry[]): Buffer {
  const facts = { 'APPPOT.version': '1', 'APPPOT.base': base, 'APPPOT.tool': 'test' };
  return Buffer.concat([{ ...root, records: facts }, ...entries].map(entryBytes));
}

/** The end of a changes file: number of entries, with the first, and digest of all before. */
export function changesEnd(entries: number, sha256: string): Buffer {
  const end = { 'APPPOT.entries': String(entries), 'APPPOT.sha256': sha256 };
  return Buffer.concat([entryBytes({ ...root, records: end }), Buffer.alloc(1024)]);
}

/** A changes file with a base id, its entries, and a right end. */
export function changesFile(base: string, entries: readonly RawEntry[]): Buffer {
  const body = changesStart(base, entries);
  return Buffer.concat([
    body,
    changesEnd(entries.length + 1, createHash('sha256').update(body).digest('hex')),
  ]);
}
