/**
 * The options of a launch, as apppot-start has them. Declared once: `apppot run` and `apppot shell` take
 * the same, and pass them on; apppot-start checks the values (on a worker node it stands alone).
 */
export interface LaunchOption {
  /** Flags for the command line parser, with a placeholder when the option takes a value. */
  readonly flags: string;
  /** Another long flag with the same meaning, which the help leaves out. */
  readonly alias?: string;
  /** The name that apppot-start knows. */
  readonly name: string;
  readonly description: string;
  /** May be given several times. */
  readonly repeat?: true;
}

export const LAUNCH_OPTIONS: readonly LaunchOption[] = [
  {
    name: '--image',
    flags: '--image <image>',
    description: 'the image; COW:IMAGE keeps changes in the file COW',
  },
  { name: '--overlay', flags: '--overlay <file>', description: 'keep changes in this file' },
  { name: '--write', flags: '-w, --writable', description: 'write into the image itself' },
  {
    name: '--changes',
    flags: '--changes <file>',
    description: 'changes to the image, as "apppot snap changes" writes them',
    repeat: true,
  },
  {
    name: '--mem',
    flags: '-m, --mem <size>',
    alias: '--memory <size>',
    description: 'memory: 512M, 4G; a bare number is MB',
  },
  { name: '--cpus', flags: '-c, --cpus <n>', description: 'processors' },
  { name: '--job-folder', flags: '--job-folder <dir>', description: 'the folder to show as /home/user/job' },
  {
    name: '--bind',
    flags: '-B, --bind <src:dst[:ro]>',
    description: 'a further folder of the host',
    repeat: true,
  },
  {
    name: '--scratch',
    flags: '--scratch <size>',
    description: 'an empty disk on /scratch, for the length of the job',
  },
  { name: '--pwd', flags: '--pwd <dir>', description: 'folder of the guest to start in' },
  { name: '--env', flags: '-e, --env <name[=value]>', description: 'a variable of the job', repeat: true },
  {
    name: '--env-file',
    flags: '--env-file <file>',
    description: 'variables of the job, a line each',
    repeat: true,
  },
  { name: '--no-stdin', flags: '--no-stdin', description: 'the job gets no standard input' },
  { name: '--network', flags: '--network <user|none>', description: 'outgoing connections, or none' },
  {
    name: '--publish',
    flags: '-p, --publish <host:guest>',
    description: 'a port of our loopback leads into the guest',
    repeat: true,
  },
  {
    name: '--host-loopback',
    flags: '--host-loopback',
    description: "let the guest reach this machine's loopback",
  },
  { name: '--time', flags: '-t, --time <limit>', description: 'minutes, M:S, H:M:S or D-H[:M[:S]]' },
  { name: '--grace', flags: '--grace <seconds>', description: 'from a signal to the kill' },
  { name: '--boot-timeout', flags: '--boot-timeout <seconds>', description: 'for the guest to come up' },
  { name: '--kernel', flags: '--kernel <file>', description: 'User-Mode Linux kernel to use' },
  { name: '--slirp', flags: '--slirp <file>', description: 'supervisor to use' },
  {
    name: '--extra',
    flags: '-X, --extra <word>',
    description: "a further word for the kernel's command line",
    repeat: true,
  },
  {
    name: '--full-boot',
    flags: '--full-boot',
    description: "start the image's own init first, with its services",
  },
  { name: '--id', flags: '--id <name>', description: 'name of the guest' },
  { name: '--outcome', flags: '--outcome <file>', description: 'write there, as JSON, how it ended' },
  {
    name: '--keep-run-folder',
    flags: '--keep-run-folder',
    description: 'leave console log and outcome behind',
  },
  { name: '--no-pin', flags: '--no-pin', description: 'let a one-processor guest move between processors' },
];
