/**
 * Long runs: many guests with mixed jobs, one after another and eight at once, and kill -9 during --write.
 * `npm run soak` is the full form; APPPOT_SOAK=short is what the test beside this file runs.
 *
 * Parts come from APPPOT_TEST_RUNTIME and APPPOT_TEST_IMAGE, else they are what `npm test` built. Exit code 1 when anything failed or was left behind.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const short = process.env['APPPOT_SOAK'] === 'short';
const AMOUNT = short
  ? { serial: 6, parallel: 4, width: 2, kills: 2 }
  : { serial: 200, parallel: 80, width: 8, kills: 20 };
const MEMORY = ['--mem', '512M'];
/** Where `npm test` keeps its image. */
const testImage = path.join(
  process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'),
  'apppot/test/test.img',
);
const image = process.env['APPPOT_TEST_IMAGE'] ?? testImage;
const runtime =
  process.env['APPPOT_TEST_RUNTIME'] ??
  execFileSync(process.execPath, ['dist/src/cli/main.js', 'runtime', 'path'], { encoding: 'utf8' }).trim();
const launcher = path.join(runtime, 'apppot-start');
const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'apppot soak ')));
const failures: string[] = [];

interface End {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly code: number | null;
}

interface Job {
  readonly name: string;
  readonly words: readonly string[];
  readonly input?: Buffer;
  readonly signal?: NodeJS.Signals;
  readonly right: (end: End) => boolean;
}

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Job number `n`: what a job can do to a launch, in turn. */
function job(n: number): Job {
  const bytes = randomBytes(3_000_000);
  const program = 'int main(void){volatile double s=0;for(int i=1;i<3000000;i++)s+=1.0/i;return s>15?7:1;}';
  const compile = 'd=$(mktemp -d) && cat >$d/a.c && gcc -O2 -o $d/a $d/a.c && $d/a';
  const jobs: Job[] = [
    { name: 'exit code', words: ['sh', '-c', `exit ${n % 256}`], right: (end) => end.code === n % 256 },
    {
      name: 'bulk',
      words: ['cat'],
      input: bytes,
      right: (end) => sha256(end.stdout) === sha256(bytes) && end.code === 0,
    },
    {
      name: 'compiler',
      words: ['sh', '-c', compile],
      input: Buffer.from(program),
      right: (end) => end.code === 7,
    },
    {
      name: 'processes',
      words: ['sh', '-c', 'i=0; while [ $i -lt 300 ]; do /bin/true || exit 1; i=$((i+1)); done; echo end'],
      right: (end) => end.stdout.toString() === 'end\n',
    },
    {
      name: 'files',
      words: [
        'sh',
        '-c',
        `mkdir d${n} && seq 20000 >d${n}/f && sort -rn d${n}/f >d${n}/g && sed -n 1p d${n}/g && rm -r d${n}`,
      ],
      right: (end) => end.stdout.toString() === '20000\n',
    },
    { name: 'killed job', words: ['sh', '-c', 'kill -9 $$'], right: (end) => end.code === 137 },
    {
      name: 'signal',
      words: ['sh', '-c', 'trap "echo caught; exit 9" TERM; echo ready; while :; do sleep 0.02; done'],
      signal: 'SIGTERM',
      right: (end) => end.code === 9 && end.stdout.toString() === 'ready\ncaught\n',
    },
  ];
  return jobs[n % jobs.length] as Job;
}

async function launch(
  words: readonly string[],
  input?: Buffer,
  onOutput?: (pid: number) => void,
): Promise<End> {
  const child = spawn(launcher, words, {
    cwd: folder,
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => {
    if (out.push(chunk) === 1) onOutput?.(child.pid ?? 0);
  });
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  const timer = setTimeout(() => child.kill('SIGKILL'), 120_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString(), code };
}

async function one(n: number): Promise<void> {
  const { name, words, input, signal, right } = job(n);
  const onOutput = signal === undefined ? undefined : (pid: number) => process.kill(pid, signal);
  const end = await launch(['--image', image, ...MEMORY, '--', ...words], input, onOutput);
  if (!right(end))
    failures.push(`guest ${n} (${name}): code ${end.code}, ${end.stdout.length} bytes, ${end.stderr}`);
}

async function many(title: string, count: number, width: number): Promise<void> {
  const started = Date.now();
  let next = 0;
  const worker = async () => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: width }, worker));
  console.log(`${title}: ${count} guests in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** kill -9 of the launcher while the guest writes into its image: the image must be repairable and boot. */
async function kills(count: number): Promise<void> {
  const own = path.join(folder, 'own.img');
  execFileSync('cp', ['--sparse=always', image, own]);
  execFileSync('chmod', ['600', own]);
  const write =
    'echo ready; while :; do head -c 300000 /dev/urandom >$(mktemp /var/tmp/fXXXXXX); rm -f /var/tmp/f*[a-m]; done';
  for (let n = 0; n < count; n++) {
    await launch(['--image', own, '--write', ...MEMORY, '--', 'sh', '-c', write], undefined, (pid) => {
      void sleep(50 + Math.random() * 1000).then(() => process.kill(pid, 'SIGKILL'));
    });
    await quiet();
    try {
      execFileSync('/sbin/e2fsck', ['-p', own], { stdio: 'pipe' });
    } catch (error) {
      // 1: errors corrected, which is what -p is for.
      const { status, stdout } = error as { status?: number; stdout?: Buffer };
      if (status !== 1)
        failures.push(`kill ${n}: e2fsck -p gives ${status ?? 'no code'}: ${stdout?.toString() ?? ''}`);
    }
    const boot = await launch([
      '--image',
      own,
      '--write',
      ...MEMORY,
      '--',
      'sh',
      '-c',
      'rm -f /var/tmp/f*; echo up',
    ]);
    if (boot.stdout.toString() !== 'up\n') failures.push(`kill ${n}: does not boot: ${boot.stderr}`);
  }
  console.log(`kill -9 while writing: ${count} times`);
  rmSync(own);
}

function leftProcesses(): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
    } catch {
      return false; // gone meanwhile, or another user's
    }
  });
}

/** Waits until no process of ours is left, for five seconds. */
async function quiet(): Promise<void> {
  for (let i = 0; i < 100 && leftProcesses().length > 0; i++) await sleep(50);
  const left = leftProcesses();
  if (left.length > 0) failures.push(`processes left: ${left.join(' ')}`);
}

const shared = readdirSync('/dev/shm');
await many('one after another', AMOUNT.serial, 1);
await many(`${AMOUNT.width} at once`, AMOUNT.parallel, AMOUNT.width);
await quiet();
const left = readdirSync(folder);
if (left.length > 0) failures.push(`files left: ${left.join(' ')}`);
await kills(AMOUNT.kills);
const memory = readdirSync('/dev/shm').filter((name) => !shared.includes(name));
if (memory.length > 0) failures.push(`left in /dev/shm: ${memory.join(' ')}`);
rmSync(folder, { recursive: true, force: true });
console.log(failures.length === 0 ? 'no failure, nothing left behind' : `${failures.length} failures:`);
for (const failure of failures) console.log(failure);
process.exitCode = failures.length === 0 ? 0 : 1;
