/** Slurm's own words, in words of people: why it refused a job, and what a job waits for. */

const REFUSALS: readonly (readonly [RegExp, string])[] = [
  [/time limit/i, 'Ask for less with --time, or for another partition with --partition.'],
  [
    /account|association/i,
    'Choose an account with --account or in the target; "sacctmgr show assoc user=$USER" there lists yours.',
  ],
  [
    /partition/i,
    'Choose a partition with --partition or in the target; "sinfo -s" there lists what there is.',
  ],
  [
    /\bqos\b/i,
    'Set another --qos in options of the target; "sacctmgr show assoc user=$USER format=qos" lists yours.',
  ],
  [/array/i, 'The site takes smaller arrays only: MaxArraySize and MaxSubmitJobs are its limits.'],
  [
    /submit.*limit|limit.*submit|QOSMaxSubmit|AssocMaxSubmit/i,
    'Wait until some of your jobs there have ended.',
  ],
  [/memory/i, 'No node there has that much: ask for less with --mem.'],
  [/node configuration|CPU count/i, 'No node there is like that: ask for less with --mem or --cpus.'],
  [
    /auth|munge|credential/i,
    'munge does not run on that machine, or has another key than the controller: tell the administrators.',
  ],
  [
    /option|argument|specification|reservation|node name/i,
    'It comes from options in the target, which go to sbatch as they are: "man sbatch" there explains them.',
  ],
];

/** One line of what sbatch says when it refuses a job: its prefixes, repetitions and offers of help left out. */
export function refusalText(said: string): string {
  const lines = said
    .split('\n')
    .map((line) =>
      line
        .trim()
        .replace(/^sbatch: (?:error: )?/, '')
        .replace(/^(?:Batch job submission failed|allocation failure): /, ''),
    )
    .filter((line) => line !== '' && !/^Try "sbatch/.test(line));
  return [...new Set(lines)].join('; ');
}

/** What to do about a refusal. */
export function refusalHint(text: string): string {
  const known = REFUSALS.find(([pattern]) => pattern.test(text))?.[1];
  return (
    known ??
    'Partition, account and options of the target: "sinfo -s" and "man sbatch" there say what there is.'
  );
}

/** Reasons of squeue(1) that need an explanation, or an act; others are shown as they are. */
const WAITING: readonly (readonly [RegExp, string])[] = [
  [
    /^(?:PartitionTimeLimit|AssocMaxWallDurationPerJobLimit|QOSMaxWallDurationPerJobLimit)$/,
    'it asks for more time than is allowed there, and never starts: cancel it, and send it with less --time',
  ],
  [
    /^(?:PartitionConfig|PartitionNodeLimit|BadConstraints)$/,
    'no node of the partition is like what it asks for, and it may never start: cancel it, and ask for less',
  ],
  [/^PartitionDown|^PartitionInactive/, 'its partition is closed'],
  [/^(?:NodeDown|ReqNodeNotAvail)/, 'nodes that it needs are down or reserved'],
  [/^Reservation/, 'for a reservation'],
  [/^JobHeld(?:User|Admin)$/, 'it is held: "scontrol release" lets it go'],
  [/^Dependency$/, 'for the jobs that it follows'],
  [/^DependencyNeverSatisfied$/, 'the job that it was to follow did not succeed'],
  [/^JobArrayTaskLimit$/, 'as many tasks of it run as may at once'],
  [/^BeginTime$/, 'until the time that it was to begin at'],
  [/^Licenses$/, 'for licenses'],
  [
    /^(?:InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed)/,
    'its account or QOS is not allowed there',
  ],
  [/^(?:Assoc|QOS|Max)/, 'until other jobs of yours or of your account have ended'],
];

/** What a pending job waits for, in words; undefined where that is only its turn. */
export function waitingText(reason: string): string | undefined {
  if (['', 'None', 'Priority', 'Resources'].includes(reason)) return undefined;
  const word = reason.replace(/,.*/s, '');
  const known = WAITING.find(([pattern]) => pattern.test(word))?.[1];
  return known === undefined ? `Slurm waits: ${reason}.` : `Slurm waits (${word}): ${known}.`;
}
