/** What the runtime in use is and can do. */
import type { Runtime } from './find.ts';
import { readManifest } from './folder.ts';
import { probeKernel, type Probe } from './probe.ts';

/**
 * Version and abilities of a runtime's kernel: from the manifest of a built one, else by asking the kernel.
 *
 * @throws ApppotError `runtime-missing` when the kernel is no User-Mode Linux kernel
 */
export async function inspectRuntime(runtime: Runtime, signal: AbortSignal): Promise<Probe> {
  const manifest =
    runtime.origin === 'built' && runtime.folder !== undefined
      ? await readManifest(runtime.folder)
      : undefined;
  const probe = manifest ?? (await probeKernel(runtime.kernel, signal));
  const smp = probe.capabilities.smp || runtime.kernelSmp !== undefined;
  return { kernelVersion: probe.kernelVersion, capabilities: { ...probe.capabilities, smp } };
}

/** What is lost with this runtime compared to one that AppPot built; undefined when nothing is. */
export function lossOf(runtime: Runtime): string | undefined {
  if (runtime.origin !== 'distribution') return undefined;
  return (
    `Using ${runtime.kernel} of the distribution: several times slower, one CPU, and the guest's root can read ` +
    'what you can read on the host; "apppot runtime build" makes a better one.'
  );
}
