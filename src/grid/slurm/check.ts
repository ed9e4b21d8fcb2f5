/** Tries a Slurm target for real: everything that a job will need. */
import type { CheckLine } from '../backend.ts';
import type { Transport } from '../transport/transport.ts';
import type { SlurmOptions } from './script.ts';
import { refusalHint, refusalText } from './words.ts';

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
    hint: (said: string) => string,
  ): Promise<boolean> => {
    const { code, stdout, stderr } = await transport.run(words, { signal });
    const text = code === 0 || stderr.trim() === '' ? stdout : stderr;
    const said = code === 0 ? (text.trim().split('\n').at(-1) ?? '') : refusalText(text);
    lines.push({ title, ok: code === 0, detail: said, ...(code === 0 ? {} : { hint: hint(said) }) });
    return code === 0;
  };
  const there = await ask(
    'sbatch',
    ['sbatch', '--version'],
    () => 'Set path in the target to the folder of sbatch there.',
  );
  if (there) {
    const answers = await ask('slurmctld', ['scontrol', 'ping'], (said) =>
      /auth|munge/i.test(said)
        ? refusalHint(said)
        : 'The controller of the cluster does not answer: wait, and tell the administrators if it lasts.',
    );
    const partition = options.partition === undefined ? [] : [`--partition=${options.partition}`];
    const account = options.account === undefined ? [] : [`--account=${options.account}`];
    const words = [...partition, ...account, ...(options.options ?? [])];
    // Nobody would say anything new about it.
    if (!answers) return lines;
    await ask(
      'a job would be taken',
      ['sbatch', '--test-only', ...words, '--time=1', '--mem=256', '--wrap=true'],
      refusalHint,
    );
  }
  const probe = 'mkdir -p "$1" && : >"$1/.check" && rm "$1/.check" && echo "$1"';
  await ask(
    'folder',
    ['sh', '-c', probe, 'sh', root],
    () => 'Set folder in the target to one that the nodes see too.',
  );
  return lines;
}
