/** The little of tar that is needed beside the engine. */
import { Transform } from 'node:stream';

const BLOCK = 512;
/** Offsets in a header (POSIX.1-2017, pax, ustar interchange format). */
const SIZE_AT = 124;
const TYPE_AT = 156;

/**
 * Leaves out the pax global headers of an archive, which not every reader of layers knows. Walks from header to header;
 * contents pass untouched.
 */
export class WithoutGlobalHeaders extends Transform {
  /** A header, or the body of an extended header, that has not come whole yet. */
  #part: Buffer = Buffer.alloc(0);
  /** Bytes of content until the next header, and whether they pass. */
  #left = 0;
  #passes = true;
  /** Bytes of the body of an extended header; it may tell the next entry's size. */
  #extended = 0;
  #nextSize: number | undefined;

  override _transform(chunk: Buffer, _encoding: string, done: (error?: null) => void): void {
    let data = chunk;
    while (data.length > 0) data = this.#left > 0 ? this.#content(data) : this.#gather(data);
    done();
  }

  override _flush(done: (error?: null) => void): void {
    if (this.#part.length > 0) this.push(this.#part);
    done();
  }

  #content(data: Buffer): Buffer {
    const size = Math.min(this.#left, data.length);
    this.#left -= size;
    if (this.#passes) this.push(data.subarray(0, size));
    return data.subarray(size);
  }

  #gather(data: Buffer): Buffer {
    const wanted = (this.#extended > 0 ? this.#extended : BLOCK) - this.#part.length;
    this.#part = Buffer.concat([this.#part, data.subarray(0, wanted)]);
    if (data.length >= wanted) {
      const whole = this.#part;
      this.#part = Buffer.alloc(0);
      if (this.#extended > 0) this.#takeExtended(whole);
      else this.#takeHeader(whole);
    }
    return data.subarray(wanted);
  }

  #takeExtended(body: Buffer): void {
    const size = /(?:^|\n)\d+ size=(\d+)\n/.exec(body.toString('latin1'))?.[1];
    this.#nextSize = size === undefined ? undefined : Number(size);
    this.#extended = 0;
    this.push(body);
  }

  #takeHeader(header: Buffer): void {
    const type = String.fromCharCode(header[TYPE_AT] ?? 0);
    const padded = Math.ceil((this.#nextSize ?? sizeIn(header)) / BLOCK) * BLOCK;
    this.#passes = type !== 'g';
    if (this.#passes) this.push(header);
    if (type === 'x') {
      this.#extended = padded;
      return;
    }
    this.#nextSize = undefined;
    // Links and nodes have no content, whatever their size says.
    this.#left = '123456'.includes(type) ? 0 : padded;
  }
}

/** Octal digits; of content above 8 GiB a number of base 256, marked by its first bit. */
function sizeIn(header: Buffer): number {
  if ((header[SIZE_AT] ?? 0) & 0x80) return Number(header.readBigUInt64BE(SIZE_AT + 4));
  const digits = header.toString('latin1', SIZE_AT, SIZE_AT + 12).replace(/[\0 ]/g, '');
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}
