/** Bodies that drip: a server that keeps a connection busy with a byte now and then holds nobody up for ever. */
import { Transform, pipeline, type Readable, type TransformCallback } from 'node:stream';
import type { Dispatcher } from 'undici';
import { ApppotError } from '../../errors.ts';

/** How long a server may take. */
export interface Patience {
  /** Milliseconds without any byte of an answer. */
  readonly silence: number;
  /** Milliseconds in which {@link Patience.least} bytes have to come, as long as a body has not ended. */
  readonly pace: number;
  readonly least: number;
}

/** Slower than half a kilobyte a second is no connection that results come through. */
export const PATIENCE: Patience = { silence: 120_000, pace: 120_000, least: 64 * 1024 };

/**
 * The same bytes, as long as they come at some pace.
 *
 * @returns a stream that fails with a transient `transport` error when they do not; closing it closes the body
 */
export function steady(body: Readable, host: string, patience: Patience): Readable {
  const watched = new Steady(host, patience);
  // Errors reach whoever reads it.
  pipeline(body, watched, () => undefined);
  return watched;
}

class Steady extends Transform {
  #came = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(host: string, { pace, least }: Patience) {
    super();
    this.#timer = setInterval(() => {
      if (this.#came < least)
        this.destroy(
          new ApppotError(
            'transport',
            `${host} sends next to nothing: ${this.#came} bytes in ${Math.round(pace / 1000)} seconds.`,
            { transient: true, hint: 'Check the network; jobs there are not touched.' },
          ),
        );
      this.#came = 0;
    }, pace);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#came += chunk.length;
    done(null, chunk);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearInterval(this.#timer);
    done(error);
  }
}

/** Reads the rest of an answer that nobody wants, so that its connection serves again; a long or slow one is closed. */
export async function discard(body: Dispatcher.ResponseData['body']): Promise<void> {
  try {
    await body.dump({ limit: 64 * 1024, signal: AbortSignal.timeout(2000) });
  } catch {
    body.destroy();
  }
}
