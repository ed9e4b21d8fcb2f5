import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { fixture } from '../helpers/fixture.ts';
import { guestParts, launch, newFolder, readOutcome, start } from '../helpers/guest.ts';

const BULK = 100 * 1024 * 1024;

function digest(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** A file of random bytes: one megabyte of them, each time with another head. */
async function randomFile(file: string): Promise<string> {
  const handle = await open(file, 'w');
  const block = randomBytes(1024 * 1024);
  const hash = createHash('sha256');
  for (let at = 0; at < BULK; at += block.length) {
    block.writeUInt32LE(at, 0);
    hash.update(block);
    await handle.write(block);
  }
  await handle.close();
  return hash.digest('hex');
}

test.serial('standard output and standard error come apart, byte for byte', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const script =
    'i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf "\\000\\r\\377no end"';
  const ended = await start(t, parts, ['--', 'sh', '-c', script]);
  const lines = (word: string) => Array.from({ length: 500 }, (_, i) => `${word} ${i}\n`).join('');
  t.deepEqual(
    ended.stdout,
    Buffer.concat([Buffer.from(lines('out')), Buffer.from('\0\r\xffno end', 'latin1')]),
  );
  t.is(ended.stderr, lines('err'));
});

test.serial('100 MB of random bytes through standard input and output keep their checksum', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const expected = await randomFile(path.join(cwd, 'bulk'));
  const ended = await launch(parts, ['--', 'cat'], {
    cwd,
    stdin: { file: path.join(cwd, 'bulk') },
    stdoutFile: path.join(cwd, 'copy'),
    limit: 180_000,
  }).ended;
  t.is(ended.code, 0);
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path.join(cwd, 'copy'))) hash.update(chunk as Buffer);
  t.is(hash.digest('hex'), expected);
});

test.serial('100 MB through a pipe and out by standard error keep their checksum', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const expected = await randomFile(path.join(cwd, 'bulk'));
  const script = 'cat bulk | "$@" 2>copy';
  const ended = await launch(parts, ['--', 'sh', '-c', 'cat >&2'], {
    cwd,
    wrapper: ['/bin/sh', '-c', script, 'sh'],
    limit: 180_000,
  }).ended;
  t.is(ended.code, 0);
  t.is(digest(await readFile(path.join(cwd, 'copy'))), expected);
});

test.serial('standard input comes from a file, a pipe, /dev/null, or is closed', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  await writeFile(path.join(cwd, 'in'), 'from a file');
  const cat = ['--', 'cat'];
  t.is(
    (await launch(parts, cat, { cwd, stdin: { file: path.join(cwd, 'in') } }).ended).stdout.toString(),
    'from a file',
  );
  t.is(
    (await launch(parts, cat, { cwd, stdin: Buffer.from('from a pipe') }).ended).stdout.toString(),
    'from a pipe',
  );
  t.is((await launch(parts, cat, { cwd, stdin: Buffer.alloc(0) }).ended).stdout.toString(), '');
  t.is((await launch(parts, cat, { cwd, stdin: 'null' }).ended).stdout.toString(), '');
  const closed = await launch(
    parts,
    ['--', 'sh', '-c', 'if cat 2>/dev/null; then echo open; else echo closed; fi'],
    {
      cwd,
      stdin: 'closed',
    },
  ).ended;
  t.is(closed.stdout.toString(), 'closed\n');
  const unread = await launch(parts, ['--no-stdin', ...cat], { cwd, stdin: Buffer.from('not for the job') })
    .ended;
  t.is(unread.stdout.toString(), '');
});

test.serial('a slow pipe is passed on as it comes, and the answer comes back at once', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const guest = launch(parts, ['--', 'sh', '-c', 'while read line; do echo "got $line"; done; echo end'], {
    cwd: await newFolder(t),
    stdin: 'pipe',
  });
  for (const line of ['one', 'two', 'three']) {
    guest.child.stdin?.write(`${line}\n`);
    await guest.shows(`got ${line}\n`);
    await sleep(50);
  }
  guest.child.stdin?.end();
  const ended = await guest.ended;
  t.is(ended.stdout.toString(), 'got one\ngot two\ngot three\nend\n');
});

test.serial('a job that reads no input ends, though the writer goes on', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const endless = await launch(parts, ['--', 'true'], { cwd, wrapper: ['/bin/sh', '-c', 'yes | "$@"', 'sh'] })
    .ended;
  t.is(endless.code, 0);
  const open = launch(parts, ['--', 'sh', '-c', 'exit 4'], { cwd, stdin: 'pipe' });
  const ended = await open.ended;
  open.child.stdin?.destroy();
  t.is(ended.code, 4);
});

test.serial('"run yes | head -1" ends, and so does a reader of standard error that goes away', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const head = ['/bin/bash', '-c', '"$@" | head -1; echo "code ${PIPESTATUS[0]}"', 'bash'];
  const out = await launch(parts, ['--', 'yes'], { cwd, wrapper: head }).ended;
  t.is(out.stdout.toString(), 'y\ncode 141\n');
  const error = ['/bin/bash', '-c', '"$@" 2>&1 >/dev/null | head -1; echo "code ${PIPESTATUS[0]}"', 'bash'];
  const err = await launch(parts, ['--', 'sh', '-c', 'exec yes >&2'], { cwd, wrapper: error }).ended;
  t.is(err.stdout.toString(), 'y\ncode 141\n');
});

test.serial('output that cannot be written is said and gives 125, and the job is not held up', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const args = ['--outcome', 'out.json', '--', 'sh', '-c', 'yes; echo done >&2'];
  const ended = await launch(parts, args, { cwd, stdoutFile: '/dev/full' }).ended;
  t.is(ended.code, 125);
  t.regex(ended.stderr, /^done\n.*standard output: No space left on device\n.*hint: /);
  t.like(await readOutcome(path.join(cwd, 'out.json')), { origin: 'launcher', exitCode: 125 });
});

test.serial('a process that the job leaves behind does not hold up the end', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const ended = await start(t, parts, ['--', 'sh', '-c', 'sleep 600 & echo started']);
  t.is(ended.stdout.toString(), 'started\n');
  t.true(ended.ms < 30_000);
});

test.serial('the last line is never lost, nor the last block before the power goes off', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const cwd = await newFolder(t);
  const script =
    'head -c 70000 /dev/zero | tr "\\0" x; echo end of error >&2; printf "last line without an end"';
  for (let round = 0; round < 15; round++) {
    const { stdout, stderr, code } = await launch(parts, ['--', 'sh', '-c', script], { cwd }).ended;
    t.deepEqual(
      [stdout.length, stdout.subarray(-24).toString(), stderr, code],
      [70_024, 'last line without an end', 'end of error\n', 0],
    );
  }
});

test.serial(
  'isatty is true exactly where the descriptor is a terminal here, in all eight combinations',
  async (t) => {
    const parts = guestParts(t);
    const pty = await fixture(t, 'pty');
    if (parts === undefined || pty === undefined) return;
    const cwd = await newFolder(t);
    for (const fds of ['', '0', '1', '2', '01', '02', '12', '012']) {
      const wrapper = [pty, '--fds', fds, '--log', path.join(cwd, 'log'), '--'];
      const script = 'a=; for fd in 0 1 2; do if [ -t $fd ]; then a=$a$fd; fi; done; printf %s "$a" >kinds';
      const ended = await launch(parts, ['--', 'sh', '-c', script], { cwd, wrapper, stdin: Buffer.from('') })
        .ended;
      t.deepEqual([fds, ended.code, await readFile(path.join(cwd, 'kinds'), 'utf8')], [fds, 0, fds]);
    }
  },
);

test.serial(
  'a terminal has its size, its resizing, its Ctrl-C, and the host keeps its own settings',
  async (t) => {
    const parts = guestParts(t);
    const pty = await fixture(t, 'pty');
    if (parts === undefined || pty === undefined) return;
    const cwd = await newFolder(t);
    const script =
      'trap "stty size" WINCH; trap "echo caught; exit 9" INT; echo ready; stty size; while :; do sleep 0.05; done';
    const steps = [
      '--expect',
      'ready',
      '--expect',
      '33 111',
      '--resize',
      '20x66',
      '--expect',
      '20 66',
      '--send',
      '\\x03',
      '--expect',
      'caught',
    ];
    const wrapper = [
      pty,
      '--size',
      '33x111',
      '--log',
      path.join(cwd, 'log'),
      ...steps,
      '--',
      '/bin/sh',
      '-c',
    ];
    const around =
      'before=$(stty -g); "$@"; code=$?; [ "$before" = "$(stty -g)" ] && echo "kept $code"; exit "$code"';
    const ended = await launch(parts, ['--', 'sh', '-c', script], {
      cwd,
      wrapper: [...wrapper, around, 'sh'],
    }).ended;
    t.is(ended.code, 9);
    t.regex(await readFile(path.join(cwd, 'log'), 'utf8'), /kept 9/);
  },
);
