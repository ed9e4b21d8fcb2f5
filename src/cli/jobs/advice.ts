/** How to go on after a command on jobs that did not come to its end. */
import { ApppotError } from '../../errors.ts';

/**
 * Runs `work`; when it is interrupted (Ctrl-C), or nobody knows what became of it, the error says how to go on.
 *
 * @param advice made when it is needed: what is known of the job then counts
 */
export async function withAdvice<T>(work: () => Promise<T>, advice: () => string | undefined): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ApppotError) || !(error.code === 'interrupted' || error.transient)) throw error;
    const words = [error.hint, advice()].filter((text) => text !== undefined).join('\n');
    throw new ApppotError(error.code, error.message, {
      cause: error,
      exitCode: error.exitCode,
      transient: error.transient,
      ...(words === '' ? {} : { hint: words }),
    });
  }
}
