import { chmod, copyFile, mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';

/** busybox of this machine; empty when there is none. */
export async function findBusybox(): Promise<string> {
  return (await run('sh', ['-c', 'command -v busybox'], { okCodes: [0, 1, 127] })).stdout.trim();
}

/** Makes a root folder with busybox, the libraries that it needs, and test/fixtures/guest/INIT as its process 1. */
export async function tinyRoot(root: string, busybox: string, init: string): Promise<void> {
  for (const name of ['bin', 'dev', 'proc', 'mnt', 'ro', 'rw', 'folder']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await copyFile(busybox, join(root, 'bin', 'busybox'));
  await symlink('busybox', join(root, 'bin', 'sh'));
  const libraries = await run('ldd', [busybox], { okCodes: [0, 1] });
  for (const [file] of libraries.stdout.matchAll(/\/\S+/g)) {
    await mkdir(join(root, dirname(file)), { recursive: true });
    await copyFile(file, join(root, file));
  }
  await copyFile(packageFile('test', 'fixtures', 'guest', init), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
}
