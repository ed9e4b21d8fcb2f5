import { openOptions } from '../commands/targets.ts';
import type { CommandContext } from '../context.ts';
import { Work } from '../../grid/work/context.ts';
import { Journal } from '../../job/journal.ts';

/** Runs work on jobs, and closes the targets that it opened. */
export async function withWork<T>(context: CommandContext, action: (work: Work) => Promise<T>): Promise<T> {
  const work = new Work(await Journal.open(), openOptions(context), context.signal);
  try {
    return await action(work);
  } finally {
    await work.close();
  }
}
