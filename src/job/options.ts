/** The options of a job, declared once: flags of `apppot submit`, and names in a job file. */
export interface JobOption {
  readonly name: string;
  /** For the command line parser; options without flags stand in job files only. */
  readonly flags?: string;
  /** Another long flag with the same meaning, which the help leaves out. */
  readonly alias?: string;
  readonly description: string;
  readonly repeat?: true;
}

export const JOB_OPTIONS: readonly JobOption[] = [
  { name: 'command', description: 'the program and its arguments, with quotes as in a shell' },
  { name: 'to', flags: '--to <target>', description: 'where to run it (local)' },
  { name: 'name', flags: '-J, --name <name>', description: "name of the job (the program's)" },
  {
    name: 'image',
    flags: '--image <image>',
    description: 'image: a file, site:PATH for one at the site, or a URL that the site fetches',
  },
  { name: 'changes', flags: '--changes <file>', description: 'changes to put on the image', repeat: true },
  {
    name: 'stage-in',
    flags: '--stage-in <file[=name]|name=url>',
    description: 'a file or folder to send along, or one that the site fetches',
    repeat: true,
  },
  {
    name: 'stage-out',
    flags: '--stage-out <pattern>',
    description: 'files and folders to bring back (all)',
    repeat: true,
  },
  { name: 'stdin', flags: '-i, --stdin <file>', description: 'file for standard input, sent along' },
  { name: 'stdout', flags: '-o, --stdout <file>', description: 'name for standard output (stdout.txt)' },
  { name: 'stderr', flags: '-e, --stderr <file>', description: 'name for standard error (stderr.txt)' },
  { name: 'cpus', flags: '-c, --cpus <n>', description: 'processors (1)' },
  {
    name: 'mem',
    flags: '-m, --mem <size>',
    alias: '--memory <size>',
    description: 'memory of the guest: 512M, 4G; bare number: MB (1G)',
  },
  { name: 'time', flags: '-t, --time <limit>', description: 'minutes, M:S, H:M:S or D-H[:M[:S]]' },
  { name: 'scratch', flags: '--scratch <size>', description: 'an empty disk on /scratch of the guest' },
  { name: 'env', flags: '--env <name[=value]>', description: 'a variable of the job', repeat: true },
  { name: 'partition', flags: '-p, --partition <name>', description: 'partition or queue' },
  { name: 'account', flags: '-A, --account <name>', description: 'account that pays' },
  { name: 'array', flags: '-a, --array <range>', description: 'one task for each number: 1-100, 1-100%10' },
  {
    name: 'sweep',
    flags: '--sweep <file.csv>',
    description: 'one task for each row; {column} in arguments and --env is its value',
  },
  {
    name: 'dependency',
    flags: '-d, --dependency <when:job>',
    description: 'start after afterok:JOB or afterany:JOB, on the same target',
    repeat: true,
  },
  {
    name: 'retry',
    flags: '--retry <n>',
    description: 'further attempts when the node failed or the job was preempted (0)',
  },
];
