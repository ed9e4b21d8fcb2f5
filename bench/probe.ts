/**
 * Loaded into a client that is measured (`node --import`): counts its requests over HTTP, and notes its peak memory when
 * it ends, as a line of JSON in the file that APPPOT_BENCH_PROBE names.
 */
import { appendFileSync } from 'node:fs';
import { subscribe } from 'node:diagnostics_channel';

/** What a client did. */
export interface Probe {
  readonly peakMiB: number;
  /** Method and path, without a query; identifiers are one word. */
  readonly requests: Readonly<Record<string, number>>;
}

const file = process.env['APPPOT_BENCH_PROBE'];
const requests: Record<string, number> = {};
if (file !== undefined) {
  subscribe('undici:request:create', (message) => {
    const { method, path } = (message as { request: { method: string; path: string } }).request;
    const what = `${method} ${path.replace(/\?.*/, '').replace(/[A-Za-z0-9]{20,}/g, 'ID')}`;
    requests[what] = (requests[what] ?? 0) + 1;
  });
  process.on('exit', () => {
    const probe: Probe = { peakMiB: process.resourceUsage().maxRSS / 1024, requests };
    appendFileSync(file, `${JSON.stringify(probe)}\n`);
  });
}
