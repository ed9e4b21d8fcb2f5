import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { requireOrSkip } from './require.ts';

const execFileAsync = promisify(execFile);
const compiled = new Map<string, Promise<string>>();

async function compile(name: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'apppot-fixture-'));
  const program = path.join(folder, name);
  await execFileAsync('chmod', ['755', folder]);
  await execFileAsync('cc', [
    '-std=gnu11',
    '-O1',
    '-Wall',
    '-Wextra',
    '-o',
    program,
    `test/fixtures/c/${name}.c`,
  ]);
  return program;
}

/**
 * Compiles test/fixtures/c/NAME.c once for this test file.
 *
 * @returns the program, or undefined when the test is to be skipped
 */
export async function fixture(t: ExecutionContext, name: string): Promise<string | undefined> {
  const compiler = existsSync('/usr/bin/cc') && existsSync(`test/fixtures/c/${name}.c`);
  if (!requireOrSkip(t, compiler, `the C compiler that builds test/fixtures/c/${name}.c is missing`))
    return undefined;
  let program = compiled.get(name);
  if (program === undefined) {
    program = compile(name);
    compiled.set(name, program);
  }
  return program;
}
