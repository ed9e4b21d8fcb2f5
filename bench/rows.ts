/** What the benchmark compares: columns are ways to run, rows are workloads. */
export type Column = 'native' | 'stock' | 'stock-pinned' | 'ours' | 'ours-2';

export const COLUMNS: Readonly<Record<Column, string>> = {
  native: 'native (chroot)',
  stock: 'stock',
  'stock-pinned': 'stock, pinned',
  ours: 'AppPot',
  'ours-2': 'AppPot, 2 CPUs',
};

/** A figure to reach: a ratio of two medians of one run. */
export interface Goal {
  readonly text: string;
  /** Numerator and denominator. */
  readonly ratio: readonly [string, string];
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Row {
  readonly name: string;
  readonly title: string;
  readonly unit: 'ms' | 'Gbit/s' | 's' | 'MB' | 'MiB' | 'questions';
  /**
   * Where it is measured: around a whole launch, by inside.sh, by inside.sh in 4 GB, by iperf3, around an image build,
   * around commands of snapshots, where `million` takes minutes, or around commands at a grid lab.
   */
  readonly kind:
    'launch' | 'inside' | 'memory' | 'network' | 'build' | 'overhead' | 'snapshot' | 'million' | 'grid';
  readonly goal?: Goal;
}

const faster = (times: number): Goal => ({
  text: times === 1 ? 'at least as fast as stock' : `${times} × faster than stock`,
  ratio: ['stock', 'ours'],
  atLeast: times,
});

const near = (times: number): Goal => ({
  text: `at most ${times} × native`,
  ratio: ['ours', 'native'],
  atMost: times,
});

/** Of a figure that is measured beside it as "limit". */
const below = (limit: string): Goal => ({ text: `at most ${limit}`, ratio: ['ours', 'limit'], atMost: 1 });

const throughput: Goal = { text: '3 × stock (slirp-fullbolt)', ratio: ['ours', 'stock'], atLeast: 3 };

/** All rows, in the order in which a guest runs them. */
export const ROWS: readonly Row[] = [
  row('start', 'start-up to power-off, program "true"', 'ms', 'launch', faster(8)),
  row('find', 'find over /usr, first time', 'ms', 'inside'),
  row('syscalls', '400,000 system calls (dd bs=1)', 'ms', 'inside', faster(5)),
  row('fork', '200 × fork and exec of /bin/true', 'ms', 'inside', faster(5)),
  row('gcc', 'gcc -O2 of a small file × 5', 'ms', 'inside', faster(4.5)),
  row('python', 'python3 start with 3 modules × 20', 'ms', 'inside', faster(4.5)),
  row('numeric', 'Gaussian elimination, n = 1200, -O2', 'ms', 'inside', near(1.1)),
  row('untar-disk', 'untar on the guest’s disk', 'ms', 'inside'),
  row('untar-job', 'untar in the job folder', 'ms', 'inside', faster(3)),
  row('walk-job', 'find and stat of that tree', 'ms', 'inside', faster(3)),
  row('remove-job', 'rm -r of that tree', 'ms', 'inside', faster(1)),
  row('small-job', '2000 small files in the job folder: write, read, remove', 'ms', 'inside', faster(3)),
  row('write-job', 'write 256 MB into the job folder', 'ms', 'inside', faster(1)),
  row('read-job', 'read them', 'ms', 'inside', faster(1)),
  row('memory-triad', 'STREAM-like triad over 768 MB, best of ten', 'ms', 'memory', near(1.1)),
  row('memory-reads-1g', '2,000,000 random reads over 1 GB', 'ms', 'memory', near(3)),
  row('memory-reads-3g', '2,000,000 random reads over 3 GB', 'ms', 'memory', near(10)),
  row('memory-scatter', 'the same over 1 GB that was touched in random order', 'ms', 'memory', near(3)),
  row('memory-faults', 'page faults: 256 MB filled and given back, three times', 'ms', 'memory'),
  row('net-up', 'network, guest to host', 'Gbit/s', 'network', throughput),
  row('net-down', 'network, host to guest', 'Gbit/s', 'network', throughput),
  row('overhead', '"apppot run true" more than "apppot-start true"', 'ms', 'overhead', {
    text: 'at most 200 ms',
    ratio: ['ours', 'limit'],
    atMost: 1,
  }),
  row('build-unshare', 'minimal image, driver unshare', 's', 'build', {
    text: 'at most 1.5 × bare mmdebstrap',
    ratio: ['ours', 'native'],
    atMost: 1.5,
  }),
  row('build-uml', 'minimal image, driver uml', 's', 'build', {
    text: 'at most 6 × bare mmdebstrap',
    ratio: ['ours', 'native'],
    atMost: 6,
  }),
  row('build-cached', 'the same image again', 's', 'build', {
    text: 'at most 5 s',
    ratio: ['ours', 'limit'],
    atMost: 1,
  }),
  row('snap-edit', 'changes after a small edit, 100,000 files (stock: GNU tar)', 'ms', 'snapshot', {
    ...faster(8),
    text: '8 × faster than tar --listed-incremental in stock',
  }),
  row('snap-edit-1g', 'the same with 1 GB more in the image', 'ms', 'snapshot', {
    text: 'at most 1.2 × that',
    ratio: ['ours', 'limit'],
    atMost: 1.2,
  }),
  row('snap-tar', 'tar | zstd of 500 MB (AppPot: in a guest)', 'ms', 'snapshot'),
  row('snap-changes', 'changes of these 500 MB', 'ms', 'snapshot', {
    text: 'at least 60 % of the throughput of tar | zstd in a guest',
    ratio: ['limit', 'ours'],
    atLeast: 0.6,
  }),
  row('snap-layer', 'start-up with them as a layer, more than without', 'ms', 'snapshot', {
    text: 'at most 100 ms',
    ratio: ['ours', 'limit'],
    atMost: 1,
  }),
  ...(['changes', 'verify', 'inspect', 'layer', 'merge'] as const).map((name) =>
    row(`snap-memory-${name}`, `peak memory of the desktop, a million new files: ${name}`, 'MB', 'million', {
      text: 'at most 300 MB',
      ratio: ['ours', 'limit'],
      atMost: 1,
    }),
  ),
  row('grid-arc', 'a job on ARC, submit to results fetched, without its run time', 's', 'grid', near(1)),
  row('grid-slurm', 'the same on Slurm', 's', 'grid', near(1)),
  row('grid-many-slurm', 'an array of 1,000 to Slurm', 's', 'grid', below('10 s')),
  row('grid-many-arc', '1,000 jobs to ARC, accepted with their inputs', 's', 'grid', below('60 s')),
  row('grid-follow-slurm', 'per 100 of them and poll, Slurm', 'questions', 'grid', below('1')),
  row('grid-follow-arc', 'per 100 of them and poll, ARC', 'questions', 'grid', below('1')),
  row('grid-memory', 'most memory of the client in all this', 'MiB', 'grid', below('250 MiB')),
];

function row(name: string, title: string, unit: Row['unit'], kind: Row['kind'], goal?: Goal): Row {
  return { name, title, unit, kind, ...(goal === undefined ? {} : { goal }) };
}
