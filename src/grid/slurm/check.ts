/** Tries a Slurm target for real: everything that a job will need. */
import type { CheckLine } from '../backend.ts';
import type { Transport } from '../transport/transport.ts';
import type { SlurmOptions } from './script.ts';

/** @param root folder for sandboxes */
export async function checkSlurm(
  transport: Transport,
  root: string,
  options: SlurmOptions,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = [];
  const ask = async (
    title: string,
    words: readonly [string, ...string[]],
    hint: string,
  ): Promise<boolean> => {
    const { code, stdout, stderr } = await transport.run(words, { signal });
    const text = code === 0 || stderr.trim() === '' ? stdout : stderr;
    const said = text.trim().split('\n').at(-1) ?? '';
    lines.push({
      title,
      ok: code === 0,
      detail: said,
      ...(code === 0 ? {} : { hint: hintFor(said) ?? hint }),
    });
    return code === 0;
  };
  const there = await ask(
    'sbatch',
    ['sbatch', '--version'],
    'Set path in the target to the folder of sbatch there.',
  );
  if (there) {
    const answers = await ask(
      'slurmctld',
      ['scontrol', 'ping'],
      'The controller of the cluster does not answer: wait, and tell the administrators if it lasts.',
    );
    const partition = options.partition === undefined ? [] : [`--partition=${options.partition}`];
    const account = options.account === undefined ? [] : [`--account=${options.account}`];
    const words = [...partition, ...account, ...(options.options ?? [])];
    // Nobody would say anything new about it.
    if (!answers) return lines;
    await ask(
      'a job would be taken',
      ['sbatch', '--test-only', ...words, '--time=1', '--mem=256', '--wrap=true'],
      'Partition, account and options of the target: sinfo and sacctmgr say what there is.',
    );
  }
  const probe = 'mkdir -p "$1" && : >"$1/.check" && rm "$1/.check" && echo "$1"';
  await ask(
    'folder',
    ['sh', '-c', probe, 'sh', root],
    'Set folder in the target to one that the nodes see too.',
  );
  return lines;
}

/** What to do about some of Slurm's own words. */
function hintFor(said: string): string | undefined {
  if (/auth|munge/i.test(said))
    return 'munge does not run on that machine, or has another key than the controller: tell the administrators.';
  if (/partition/i.test(said)) return 'partition in the target: "sinfo -s" there lists what there is.';
  if (/account|association/i.test(said))
    return 'account in the target: "sacctmgr show assoc user=$USER" there lists yours.';
  return undefined;
}
