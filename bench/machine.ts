import { cpus, release, totalmem } from 'node:os';
import { readFile } from 'node:fs/promises';
import { start } from './processes.ts';

/** One line about this machine. */
export async function describeMachine(): Promise<string> {
  const system = /^PRETTY_NAME="?(.*?)"?$/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1] ?? '?';
  const load = (await readFile('/proc/loadavg', 'utf8')).split(' ')[0] ?? '?';
  const memory = Math.round(totalmem() / 2 ** 30);
  return (
    `${cpus().length} × ${cpus()[0]?.model.trim() ?? '?'}, ${memory} GiB, ${system}, ` +
    `Linux ${release()}, Node.js ${process.version}, load ${load} at the start`
  );
}

/** The versions of the kernels that are compared. */
export async function kernelVersions(ours: string, stock: string | undefined): Promise<string> {
  const version = async (kernel: string): Promise<string> =>
    (await start([kernel, '--version'])).stdout.trim() || '?';
  const other = stock === undefined ? 'not installed' : await version(stock);
  return `AppPot ${await version(ours)}; stock ${other}`;
}
