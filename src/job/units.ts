/** Times and sizes as sbatch(1) reads them. */
import { ApppotError } from '../errors.ts';

/**
 * A time limit in seconds: `minutes`, `M:S`, `H:M:S`, `D-H`, `D-H:M` or `D-H:M:S`.
 *
 * @throws ApppotError `usage`
 */
export function parseTime(text: string): number {
  const match = /^(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?$/.exec(text);
  if (match === null) throw wrongTime(text);
  const [, days, one = '0', two, three] = match;
  const clock = (hours: string, minutes = '0', seconds = '0'): number =>
    Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  const seconds =
    days !== undefined
      ? Number(days) * 86_400 + clock(one, two, three)
      : three !== undefined
        ? clock(one, two, three)
        : clock('0', one, two);
  if (seconds === 0) throw wrongTime(text);
  return seconds;
}

function wrongTime(text: string): ApppotError {
  return new ApppotError('usage', `"${text}" is no time limit.`, {
    hint: 'Give minutes, M:S, H:M:S or D-H[:M[:S]], as sbatch takes them: 90 is an hour and a half.',
  });
}

/**
 * An amount of memory or disk in MiB; a bare number is MB, as for sbatch.
 *
 * @param what the option, for the message
 * @throws ApppotError `usage`
 */
export function parseSize(text: string, what: string): number {
  const match = /^(\d{1,12})([KMGT]?)B?$/i.exec(text);
  const factor = { K: 1 / 1024, '': 1, M: 1, G: 1024, T: 1024 ** 2 }[(match?.[2] ?? '').toUpperCase()] ?? 1;
  const size = Math.ceil(Number(match?.[1]) * factor);
  if (match === null || !(size >= 64)) {
    throw new ApppotError('usage', `${what} takes a size of at least 64M, not "${text}".`, {
      hint: 'Such as 512M or 4G; a bare number is MB.',
    });
  }
  return size;
}

/** Seconds as sbatch takes and squeue shows them: `D-HH:MM:SS`. */
export function formatTime(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  const days = Math.floor(whole / 86_400);
  const clock = `${two(Math.floor(whole / 3600) % 24)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return days === 0 ? clock : `${days}-${clock}`;
}
