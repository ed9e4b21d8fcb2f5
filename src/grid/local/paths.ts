/** Files of a local sandbox, beside those of src/grid/folder/send.ts. */
import { readFileSync } from 'node:fs';

/** Written by the backend, read by the supervisor. */
export interface LocalPlan {
  /** Indices of the tasks, in their order. */
  readonly indices: readonly number[];
  /** Most of them at once. */
  readonly parallel: number;
  /** Processors of one task. */
  readonly cpus: number;
  /** Processors that local jobs may use together. */
  readonly slots: number;
  /** Folder of their locks. */
  readonly seats: string;
  /** Job folders that must have an outcome first; with "ok" a good one. */
  readonly after: readonly { readonly when: 'ok' | 'any'; readonly folder: string }[];
}

export const PLAN = 'plan.json';
/** `pid start` of the supervisor. */
export const SUPERVISOR = 'supervisor';
/** In place of a supervisor, where none is to start any more. */
export const CLOSED = 'closed\n';

/** When a process started, in clock ticks since boot (proc(5), field 22 of stat); undefined when there is none. */
export function startTime(pid: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const rest = fields.slice(fields.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended.
    return rest[0] === 'Z' ? undefined : rest[19];
  } catch {
    return undefined;
  }
}

/** Process id in a text `pid start`, if that very process is alive. */
export function livingProcess(text: string): number | undefined {
  const [pid = '', start = ''] = text.trim().split(' ');
  return /^\d+$/.test(pid) && startTime(Number(pid)) === start ? Number(pid) : undefined;
}
