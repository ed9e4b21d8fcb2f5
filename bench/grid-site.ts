import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../src/config/paths.ts';
import { findRuntime } from '../src/runtime/find.ts';
import type { RunResult } from '../src/process/run.ts';
import { start } from './processes.ts';
import type { Probe } from './probe.ts';

/** A grid lab of the benchmark's own, set up as docs/site.md tells administrators, with a client beside it. */
export interface Site {
  readonly folder: string;
  readonly lab: Lab;
  readonly image: string;
  readonly runtime: string;
  /** Variables of the client. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs apppot in the client's folder; what it did is in `probes`. */
  readonly apppot: (...args: string[]) => Promise<RunResult>;
  /** What the clients did since the last call. */
  readonly probes: () => Promise<readonly Probe[]>;
  /** Calls of squeue since the last call. */
  readonly questions: () => Promise<number>;
}

interface Lab {
  readonly folder: string;
  readonly arc: {
    readonly endpoint: string;
    readonly caDir: string;
    readonly conf: string;
    readonly rteDir: string;
  };
  readonly slurm: { readonly conf: string; readonly partition: string };
  readonly clients: { readonly root: string };
}

const PORT = '24600';

/** Starts the lab, runs `work` at it, and takes it down. */
export async function atSite(image: string, work: (site: Site) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'apppot-bench-grid-'));
  const env = {
    XDG_CACHE_HOME: join(folder, 'cache'),
    APPPOT_LAB_PORT: process.env['APPPOT_LAB_PORT'] ?? PORT,
  };
  const script = packageFile('test', 'grid-lab', 'lab.sh');
  try {
    const { stdout } = await start(['bash', script, 'up'], { env });
    await work(await setUp(folder, JSON.parse(await readFile(stdout.trim(), 'utf8')) as Lab, image));
  } finally {
    // Also after Ctrl-C: a signal of its own.
    await start(['bash', script, 'down'], { env, signal: AbortSignal.timeout(120_000) });
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runtime and image where all jobs see them, the runtime environment for ARC, and a client's settings. */
async function setUp(folder: string, lab: Lab, imageHere: string): Promise<Site> {
  const shared = join(lab.folder, 'shared');
  const image = join(shared, 'bench.img');
  const runtime = join(shared, 'runtime');
  await mkdir(runtime, { recursive: true });
  await start(['cp', '--sparse=always', imageHere, image]);
  const from = join((await findRuntime()).start, '..');
  for (const name of await readdir(from)) await copyFile(join(from, name), join(runtime, name));
  await start(['chmod', '-R', 'a+rX', shared]);
  await copyFile(packageFile('templates', 'ENV', 'APPPOT'), join(lab.arc.rteDir, 'ENV', 'APPPOT'));
  const rte = ['arcctl', '-c', lab.arc.conf, 'rte'];
  await start([...rte, 'enable', 'ENV/APPPOT']);
  await start([...rte, 'params-set', 'ENV/APPPOT', 'APPPOT_RUNTIME', runtime]);
  await start([...rte, 'params-set', 'ENV/APPPOT', 'APPPOT_IMAGE', image]);
  const [config, work, counters] = [join(folder, 'config'), join(folder, 'my work'), join(folder, 'bin')];
  await mkdir(join(config, 'apppot'), { recursive: true });
  for (const path of [work, counters]) await mkdir(path);
  await writeFile(join(work, 'input.dat'), 'the input\n');
  const asked = join(folder, 'asked');
  await writeFile(
    join(counters, 'squeue'),
    `#!/bin/sh\necho squeue >>'${asked}'\nexec /usr/bin/squeue "$@"\n`,
    { mode: 0o755 },
  );
  await writeFile(join(config, 'apppot', 'apppot.ini'), settings(lab, { image, runtime, counters }));
  const probe = join(folder, 'probe');
  const env = {
    XDG_CONFIG_HOME: config,
    XDG_STATE_HOME: join(folder, 'state'),
    HOME: folder,
    SLURM_CONF: lab.slurm.conf,
    X509_CERT_DIR: lab.arc.caDir,
    X509_USER_CERT: join(lab.clients.root, 'cert.pem'),
    X509_USER_KEY: join(lab.clients.root, 'key.pem'),
    X509_USER_PROXY: join(lab.clients.root, 'proxy.pem'),
  };
  const cli = packageFile('dist', 'src', 'cli', 'main.js');
  const probed = ['--import', packageFile('dist', 'bench', 'probe.js')];
  return {
    folder: work,
    lab,
    image,
    runtime,
    env,
    apppot: (...args) =>
      start([process.execPath, ...probed, cli, ...args], {
        cwd: work,
        env: { ...env, APPPOT_BENCH_PROBE: probe },
      }),
    probes: async () => (await taken(probe)).map((line) => JSON.parse(line) as Probe),
    questions: async () => (await taken(asked)).length,
  };
}

function settings(
  lab: Lab,
  { image, runtime, counters }: { image: string; runtime: string; counters: string },
): string {
  return `[target arc]
type = arc
endpoint = ${lab.arc.endpoint}
proxy = ${join(lab.clients.root, 'proxy.pem')}
ca_dir = ${lab.arc.caDir}
rte = ENV/APPPOT

[target slurm]
type = slurm
partition = ${lab.slurm.partition}
path = ${counters}
runtime = ${runtime}
image = site:${image}
`;
}

/** Lines of a file, which is empty afterwards. */
async function taken(file: string): Promise<readonly string[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  await rm(file, { force: true });
  return text.split('\n').filter(Boolean);
}
