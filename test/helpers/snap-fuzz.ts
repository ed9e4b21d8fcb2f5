/** Mutations of valid archives against a build of the engine with sanitizers. */
import { readFile, writeFile } from 'node:fs/promises';
import { run } from '../../src/process/run.ts';
import { type Dice, type Engine } from './snap.ts';
import { sealed } from './tar.ts';

export const SANITIZERS = '-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all';

/** A copy with a few bytes or blocks changed; the checksums of headers are made right again, most of the time. */
export function mutated(dice: Dice, original: Buffer): Buffer {
  let bytes = Buffer.from(original);
  for (let i = dice.next(4); i >= 0; i--) {
    const at = dice.next(bytes.length);
    const block = at - (at % 512);
    switch (dice.next(8)) {
      case 0:
        bytes = bytes.subarray(0, at);
        break;
      case 1:
        bytes.copy(bytes, block, dice.next(bytes.length / 512) * 512);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, block), bytes.subarray(dice.next(bytes.length))]);
        break;
      case 3:
        bytes.write(
          dice.pick(['../', '/', '\0', '77777777777', '.wh.', 'x', '5', '1', '999999999 ', '=', '\n']),
          at,
        );
        break;
      default:
        bytes[at] = dice.next(256);
    }
    if (bytes.length < 512) return Buffer.from(bytes);
  }
  if (dice.next(5) > 0) {
    for (let at = 0; at + 512 <= bytes.length; at += 512) {
      if (bytes.toString('latin1', at + 257, at + 262) === 'ustar') sealed(bytes.subarray(at, at + 512));
    }
  }
  return bytes;
}

/**
 * Reads mutated archives until the time is over.
 *
 * @returns the number of archives, and those that ended otherwise than with a result or a refusal
 */
export async function fuzz(
  engine: Engine,
  archive: string,
  dice: Dice,
  seconds: number,
  root: string,
): Promise<{ count: number; bad: readonly string[] }> {
  const original = await readFile(archive);
  const bad: string[] = [];
  const end = Date.now() + seconds * 1000;
  let count = 0;
  const file = engine.at(`fuzz-${dice.next(1_000_000)}.tar`);
  for (; Date.now() < end; count++) {
    await writeFile(file, mutated(dice, original));
    const words = dice.pick([
      ['verify', file],
      ['inspect', '--json', file],
      ['layer-tar', '-o', `${file}.layer`, file],
      ['--root', root, '-n', '--force', 'merge', file],
    ]);
    const result = await run('timeout', ['20', engine.program, ...words], {
      okCodes: [...Array(256).keys()],
      env: { ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=0:exitcode=99' },
    });
    if (![0, 1, 3, 4, 5].includes(result.exitCode) || /Sanitizer|runtime error/.test(result.stderr)) {
      const kept = `/var/tmp/apppot-fuzz-${Date.now()}.tar`;
      await writeFile(kept, await readFile(file));
      bad.push(`${words.join(' ')}: ${result.exitCode}, kept as ${kept}: ${result.stderr.slice(0, 2000)}`);
    }
  }
  return { count, bad };
}
