/** The little of tar that is needed beside the engine. */
import { Transform } from 'node:stream';

const BLOCK = 512;
/** Offsets in a header (POSIX.1-2017, pax, ustar interchange format). */
const SIZE_AT = 124;
const TYPE_AT = 156;

/** Leaves out the pax global header at the front of an archive. */
export class WithoutGlobalHeader extends Transform {
  #head: Buffer | undefined = Buffer.alloc(0);
  #skip = 0;

  override _transform(chunk: Buffer, _encoding: string, done: (error?: null, data?: Buffer) => void): void {
    let data = chunk;
    if (this.#head !== undefined) {
      this.#head = Buffer.concat([this.#head, chunk]);
      if (this.#head.length < BLOCK) {
        done();
        return;
      }
      data = this.#head;
      this.#head = undefined;
      if (data[TYPE_AT] === 0x67) {
        const size = Number.parseInt(data.toString('latin1', SIZE_AT, SIZE_AT + 12), 8);
        this.#skip = BLOCK + Math.ceil(size / BLOCK) * BLOCK;
      }
    }
    const skipped = Math.min(this.#skip, data.length);
    this.#skip -= skipped;
    done(null, data.subarray(skipped));
  }

  override _flush(done: (error?: null, data?: Buffer) => void): void {
    done(null, this.#head);
  }
}
