/** Every key of a `[target NAME]` section: declared here once; the checks, the types and the help follow. */
import * as v from 'valibot';

const text = v.pipe(v.string(), v.minLength(1, 'must not be empty'));
const count = v.pipe(
  v.string(),
  v.regex(/^[1-9]\d{0,6}$/, 'must be a whole number above 0'),
  v.transform(Number),
);
const mebibytes = v.pipe(
  v.string(),
  v.regex(/^\d{1,9}[MmGg]?$/, 'must be a size such as 512M or 1G (a bare number is MB)'),
  v.transform((size) => Number.parseInt(size, 10) * (/g$/i.test(size) ? 1024 : 1)),
);
const factor = v.pipe(
  v.string(),
  v.regex(/^\d{1,2}(?:\.\d{1,3})?$/, 'must be a number such as 1.2'),
  v.transform(Number),
  v.minValue(1, 'must be 1 or more'),
  v.maxValue(16, 'must be 16 or less'),
);
const httpUrl = v.pipe(v.string(), v.regex(/^https?:\/\/[^\s/]+(?:\/\S*)?$/, 'must be an http(s) URL'));
const httpsUrl = v.pipe(
  v.string(),
  v.regex(/^https:\/\/[^\s/@]+(?:\/\S*)?$/, 'must be an https URL such as https://ce.example.org/arex'),
);
const sitePath = v.pipe(v.string(), v.regex(/^(?:\/|~\/|site:\/)/, 'must be an absolute path at the site'));
/** Words as a shell reads them, with quotes and no expansion. */
const words = v.pipe(
  v.string(),
  v.regex(/^(?:[^\s"'\\]|"[^"]*"|'[^']*'|\s)*$/, 'must be words, with quotes in pairs'),
  v.transform((line) =>
    [...line.matchAll(/(?:[^\s"']|"[^"]*"|'[^']*')+/g)].map(([word]) =>
      word.replace(
        /"([^"]*)"|'([^']*)'/g,
        (_whole, double?: string, single?: string) => double ?? single ?? '',
      ),
    ),
  ),
);

/** Keys by their name in the program; `ini` is the one in the file. */
export const TARGET_KEYS = {
  // Every target
  image: declare(
    'image',
    ['local', 'slurm', 'arc'],
    'Image of jobs: a file here, site:/path there, or a URL.',
    text,
  ),
  runtime: declare(
    'runtime',
    ['local', 'slurm', 'arc'],
    'Runtime there: a folder of the site, or its URL.',
    text,
  ),
  parallel: declare('parallel', ['local', 'slurm', 'arc'], 'Most jobs of one submission at once.', count),
  memoryFactor: declare(
    'memory_factor',
    ['slurm', 'arc'],
    'Memory asked for, per memory of the guest.',
    factor,
  ),
  memoryOverhead: declare(
    'memory_overhead',
    ['slurm', 'arc'],
    'Memory asked for beside that of the guest.',
    mebibytes,
  ),
  poll: declare('poll', ['local', 'slurm', 'arc'], 'Seconds between two questions about jobs.', count),
  folder: declare('folder', ['local', 'slurm'], 'Folder for jobs, images and runtimes there.', sitePath),
  // Here
  loginNode: declare(
    'login_node',
    ['local'],
    '"allow" lets jobs run here although this is a login node of a cluster.',
    v.picklist(['allow', 'refuse'], 'must be allow or refuse'),
  ),
  // Slurm
  partition: declare('partition', ['slurm'], 'Partition (sbatch -p).', text),
  account: declare('account', ['slurm'], 'Account (sbatch -A).', text),
  options: declare('options', ['slurm'], 'Further options of sbatch.', words),
  ssh: declare(
    'ssh',
    ['slurm'],
    'Machine where sbatch is: [user@]host[:port], or a name of ~/.ssh/config.',
    v.pipe(
      v.string(),
      v.regex(
        /^(?!-)(?:[^\s@]+@)?(?:\[[0-9A-Fa-f:.]+\]|[^\s@:[\]-][^\s@:[\]]*)(?::\d{1,5})?$/,
        'must be [user@]host[:port]',
      ),
    ),
  ),
  transport: declare(
    'transport',
    ['slurm'],
    "ssh2: AppPot's own ssh; openssh: the system's ssh, for Kerberos, one-time passwords and proxy commands.",
    v.picklist(['ssh2', 'openssh'], 'must be ssh2 or openssh'),
  ),
  sshConfig: declare(
    'ssh_config',
    ['slurm'],
    'ssh configuration to use instead of ~/.ssh/config.',
    text,
    true,
  ),
  path: declare('path', ['slurm'], 'Folders that come first on PATH there, joined by ":".', sitePath),
  // ARC
  endpoint: declare('endpoint', ['arc'], 'URL of the computing element.', httpsUrl),
  queue: declare('queue', ['arc'], 'Queue.', text),
  certificate: declare('certificate', ['arc'], 'Certificate (PEM) to log in with.', text, true),
  key: declare('key', ['arc'], 'Its private key (PEM).', text, true),
  proxy: declare('proxy', ['arc'], 'Proxy certificate with its key (PEM).', text, true),
  tokenFile: declare('token_file', ['arc'], 'File with a bearer token.', text, true),
  tokenEnv: declare('token_env', ['arc'], 'Environment variable with a bearer token.', text),
  caDir: declare('ca_dir', ['arc'], 'Folder of certificate authorities.', text, true),
  baseUrl: declare(
    'base_url',
    ['arc'],
    'Web space for images and runtimes, from which the site fetches.',
    httpUrl,
  ),
  rte: declare('rte', ['arc'], "The site's runtime environment that has AppPot, such as ENV/APPPOT.", text),
} as const;

export type TargetKey = keyof typeof TARGET_KEYS;

function declare<const Types extends readonly ('local' | 'slurm' | 'arc')[], Value>(
  ini: string,
  types: Types,
  description: string,
  schema: v.GenericSchema<string, Value>,
  isLocalPath = false,
) {
  return { ini, types, description, schema, isLocalPath };
}
