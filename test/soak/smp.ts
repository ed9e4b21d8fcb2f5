/**
 * Mixed load on two processors of one guest: compilers, disk, job folder, network, pipes, and MPI where the image has it.
 * `npm run soak -- smp` is the full form: ten minutes, in an image of its own with Open MPI; APPPOT_SOAK=short is what the test
 * beside this file runs. Exit code 1 when any result was wrong.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { availableParallelism, homedir, tmpdir } from 'node:os';
import path from 'node:path';

const short = process.env['APPPOT_SOAK'] === 'short';
const SECONDS = short ? 15 : 600;
const cli = 'dist/src/cli/main.js';
const cache = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'apppot/test');
const runtime =
  process.env['APPPOT_TEST_RUNTIME'] ??
  execFileSync(process.execPath, [cli, 'runtime', 'path'], { encoding: 'utf8' }).trim();

/** The image: with Open MPI in the full form, else the one that all tests share. */
function findImage(): string {
  if (short) return process.env['APPPOT_TEST_IMAGE'] ?? path.join(cache, 'test.img');
  const image = path.join(cache, 'mpi.img');
  if (!existsSync(image))
    execFileSync(
      process.execPath,
      [
        ...[cli, 'build-image', '--packages', 'quickstart', '--include', 'openmpi-bin,libopenmpi-dev'],
        ...['--size', '3G', '-o', image],
      ],
      { stdio: 'inherit' },
    );
  return image;
}

/** A C source that takes the compiler about a second. */
function checkedSource(): string {
  const functions = Array.from(
    { length: 400 },
    (_, n) => `double f${n}(double x){double s=${n};for(int i=0;i<${n + 3};i++)s=s*x+i/(x+${n});return s;}\n`,
  );
  return functions.join('');
}

/** Gives the guest's processes other processors, as a batch system does that changes a cpuset: one, the other, both. */
function changeMask(round: number): void {
  const mask = ['0x1', '0x2', '0x3'][round % 3] ?? '0x3';
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readlinkSync(`/proc/${pid}/cwd`).startsWith(folder))
        execFileSync('taskset', ['-ap', mask, pid], { stdio: 'ignore' });
    } catch {
      continue; // gone meanwhile, or not ours
    }
  }
}

const image = findImage();
const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'apppot smp ')));
for (const name of ['smp-load.sh', 'ring.c'])
  copyFileSync(path.join('test/soak', name), path.join(folder, name));
writeFileSync(path.join(folder, 'checked.c'), checkedSource());
const bytes = randomBytes(5_000_000);
const server = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.end(bytes);
}).listen(0, '127.0.0.1');
await once(server, 'listening');

const digest = createHash('sha256').update(bytes).digest('hex');
const started = Date.now();
const guest = spawn(
  path.join(runtime, 'apppot-start'),
  [
    ...['--image', image, '--cpus', '2', '--mem', '2G', '--host-loopback', '--no-stdin', '--'],
    ...['bash', 'smp-load.sh', String(SECONDS), String((server.address() as AddressInfo).port), digest],
  ],
  { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] },
);
let round = 0;
const masks = setInterval(
  () => {
    if (availableParallelism() > 1) changeMask(round % 2 === 0 ? 2 : (round >> 1) % 2);
    round += 1;
  },
  short ? 1000 : 5000,
);
const timer = setTimeout(() => guest.kill('SIGKILL'), (SECONDS + 300) * 1000);
const [code] = (await once(guest, 'close')) as [number | null];
clearTimeout(timer);
clearInterval(masks);
server.close();
rmSync(folder, { recursive: true, force: true });
const took = ((Date.now() - started) / 1000).toFixed(0);
console.log(code === 0 ? `no fault on two processors in ${took} s` : `failed with ${code ?? 'a signal'}`);
process.exitCode = code === 0 ? 0 : 1;
