/** How much room a target's folder has: disk, files (inodes), and the account's quota where there is one. */
import type { CheckLine } from './backend.ts';
import type { Transport } from './transport/transport.ts';

/** df(1) of POSIX, inodes as GNU, BSD and busybox give them, quota(1) with machine-readable times. */
const ASK = `df -Pk "$1" | tail -n 1
echo ===
df -Pi "$1" 2>/dev/null | tail -n 1
echo ===
quota -wp 2>/dev/null`;

/** KiB below which a job with an image of its own may not fit, and below which nothing does. */
const NEARLY = 1024 * 1024;
const NOTHING = 16 * 1024;
/** Files that a few jobs need. */
const FEW_FILES = 1000;

const HINT =
  'Remove what you need no more ("apppot jobs clean" for jobs that have ended), or set folder in the target to another file system.';

interface Room {
  readonly device: string;
  /** KiB, or files. */
  readonly free: number;
}

/** The line about it; one without a hint when there is room enough, or nobody can tell. */
export async function checkSpace(
  root: string,
  transport: Transport,
  signal: AbortSignal,
): Promise<CheckLine> {
  const { stdout } = await transport.run(['sh', '-c', ASK, 'sh', root], { signal });
  const [disk = '', inodes = '', quota = ''] = stdout.split('===\n');
  return spaceLine(parseRoom(disk), parseRoom(inodes), quota);
}

/** What these figures mean; apart, for tests: quotas need a file system that has them. */
export function spaceLine(disk: Room | undefined, inodes: Room | undefined, quota: string): CheckLine {
  const title = 'space';
  if (disk === undefined) return { title, ok: true, detail: 'nobody can tell how much room there is' };
  const own = quotaOf(quota, disk.device);
  const free = Math.min(disk.free, own?.blocks ?? Infinity);
  const files = Math.min(inodes?.free ?? Infinity, own?.files ?? Infinity);
  const limit = own?.blocks === free ? 'your quota' : 'the disk';
  const detail = `${size(free)} free`;
  if (free < NOTHING) return { title, ok: false, detail: `${limit} is full: ${detail}`, hint: HINT };
  if (files < FEW_FILES)
    return {
      title,
      ok: files > 0,
      detail: `${detail}, but only ${files} more files may be made`,
      hint: HINT,
    };
  return free < NEARLY
    ? { title, ok: true, detail: `${limit} is nearly full: ${detail}`, hint: HINT }
    : { title, ok: true, detail };
}

/** The last line of df: device, all, used, free. A file system without such a limit says 0 of 0. */
export function parseRoom(line: string): Room | undefined {
  const [, device = '', all, free] = /^(.*?)\s+(\d+)\s+\d+\s+(\d+)\s+\S+\s+\//.exec(line.trim()) ?? [];
  return free === undefined || all === '0' ? undefined : { device, free: Number(free) };
}

/** What is left of the quota on this device: blocks in KiB and files, each used, soft and hard limit, time. */
function quotaOf(
  text: string,
  device: string,
): { readonly blocks: number; readonly files: number } | undefined {
  for (const line of text.split('\n')) {
    const words = line.trim().split(/\s+/);
    if (words.length !== 9 || words[0] !== device) continue;
    const numbers = words.slice(1).map((word) => Number(word.replace('*', '')));
    const left = ([used = 0, soft = 0, hard = 0]: readonly number[]): number => {
      const most = soft > 0 ? soft : hard;
      return most > 0 ? Math.max(0, most - used) : Infinity;
    };
    return { blocks: left(numbers.slice(0, 3)), files: left(numbers.slice(4, 7)) };
  }
  return undefined;
}

function size(kibibytes: number): string {
  return kibibytes < 1024 * 1024
    ? `${Math.floor(kibibytes / 1024)} MiB`
    : `${(kibibytes / 2 ** 20).toFixed(1)} GiB`;
}
