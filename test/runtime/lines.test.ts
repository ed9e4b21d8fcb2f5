import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import test from 'ava';
import { findRuntime } from '../../src/runtime/find.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { findBusybox, tinyRoot } from '../helpers/tiny.ts';

const BYTES = 3_000_000;
/** What went wrong when a line was opened again while it took input did so in one guest of four. */
const ROUNDS = 6;

/** Boots a kernel with a serial line on two pipes, sends the bytes as fast as they go, and returns what it printed. */
async function sendThrough(kernel: string, words: readonly string[], folder: string, bytes: Buffer) {
  const guest = spawn(
    kernel,
    [
      ...[
        'mem=128M',
        'quiet',
        'con=null',
        'con0=null,fd:1',
        'ssl0=fd:3,fd:4',
        'uml_dir=.',
        'seccomp=on',
        ...words,
      ],
      ...['root=/dev/root', 'rootfstype=hostfs', 'rw', 'init=/init', `hostfs=${join(folder, 'root')}`],
      ...['--', String(bytes.length)],
    ],
    { cwd: folder, stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] },
  );
  let said = '';
  const line = guest.stdio[3] as Writable;
  line.on('error', () => undefined);
  (guest.stdio[4] as Readable).resume();
  guest.stderr?.on('data', (data: Buffer) => (said += data.toString()));
  guest.stdout?.on('data', (data: Buffer) => {
    const before = said.includes('ready');
    said += data.toString();
    if (!before && said.includes('ready')) line.write(bytes);
  });
  const timer = setTimeout(() => guest.kill('SIGKILL'), 60_000);
  await once(guest, 'close');
  clearTimeout(timer);
  return said;
}

for (const [flavour, words] of [
  ['one', []],
  ['two', ['ncpus=2']],
] as const) {
  test.serial(
    `bulk input through a serial line arrives whole, on a kernel for ${flavour} processor(s)`,
    async (t) => {
      const runtime = await findRuntime();
      const kernel = flavour === 'one' ? runtime.kernel : runtime.kernelSmp;
      const busybox = await findBusybox();
      const there = runtime.origin !== 'distribution' && kernel !== undefined && busybox !== '';
      if (!requireOrSkip(t, there, 'needs a built runtime and busybox')) return;
      const folder = await mkdtemp(join(tmpdir(), 'apppot-test-'));
      try {
        await tinyRoot(join(folder, 'root'), busybox, 'read-a-line');
        for (let round = 0; round < ROUNDS; round++) {
          const bytes = randomBytes(BYTES);
          const said = await sendThrough(kernel ?? '', words, folder, bytes);
          t.true(said.includes(createHash('sha256').update(bytes).digest('hex')), `it said: ${said}`);
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  );
}
