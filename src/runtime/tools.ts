/** What a runtime build needs on this machine. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../errors.ts';
import { baseEnvironment } from '../process/run.ts';

/** Programs and the Debian packages that have them. */
const TOOLS: Readonly<Record<string, string>> = {
  gcc: 'gcc',
  make: 'make',
  flex: 'flex',
  bison: 'bison',
  bc: 'bc',
  xz: 'xz-utils',
  patch: 'patch',
  strip: 'binutils',
  meson: 'meson',
  ninja: 'ninja-build',
  'pkg-config': 'pkg-config',
  'apt-get': 'apt',
  'dpkg-deb': 'dpkg',
};

/** Files that stand for libraries; anyone of a line will do. */
const LIBRARIES: readonly (readonly [name: string, files: readonly string[]])[] = [
  ['libc6-dev', ['/usr/lib/x86_64-linux-gnu/libc.a', '/usr/lib64/libc.a', '/usr/lib/libc.a']],
  [
    'libglib2.0-dev',
    ['/usr/lib/x86_64-linux-gnu/libglib-2.0.a', '/usr/lib64/libglib-2.0.a', '/usr/lib/libglib-2.0.a'],
  ],
];

/**
 * Checks that compilers and libraries are there, before anything is downloaded.
 *
 * @throws ApppotError `missing-tool` with the Debian packages that are missing
 */
export async function requireBuildTools(): Promise<void> {
  const path = (baseEnvironment()['PATH'] ?? '').split(':');
  const missing = new Set<string>();
  for (const [tool, name] of Object.entries(TOOLS)) {
    if (
      !(await anyOf(
        path.map((folder) => join(folder, tool)),
        constants.X_OK,
      ))
    )
      missing.add(name);
  }
  for (const [name, files] of LIBRARIES) if (!(await anyOf(files, constants.R_OK))) missing.add(name);
  if (missing.size === 0) return;
  const names = [...missing].join(' ');
  throw new ApppotError(
    'missing-tool',
    `Building the runtime needs Debian packages that are missing: ${names}.`,
    {
      hint: `Run "npm run setup", or: sudo apt-get install ${names}`,
    },
  );
}

async function anyOf(files: readonly string[], mode: number): Promise<boolean> {
  for (const file of files) {
    if (
      await access(file, mode).then(
        () => true,
        () => false,
      )
    ) {
      return true;
    }
  }
  return false;
}
