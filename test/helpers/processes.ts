import { readdirSync, readFileSync } from 'node:fs';

/** The words of every process of this machine, as any account of it can list them (ps). */
export function listedWords(): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return ''; // it has ended
      }
    });
}
