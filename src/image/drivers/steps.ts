/** Writes the scripts that image/build/run-modules runs: one per module, with its whole environment. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { shellQuote } from '../../process/quote.ts';
import type { Plan } from './driver.ts';

/** What differs between drivers: names of places, as the modules see them. */
export interface World {
  readonly driver: string;
  /** The host's whole file system. */
  readonly host: string;
  /** How the modules reach a path of the host that they write to. */
  readonly writable: (path: string) => string;
}

/**
 * Writes one script per module into the plan's scratch folder.
 *
 * @returns the folder of the scripts
 */
export async function writeSteps(plan: Plan, world: World): Promise<string> {
  const folder = join(plan.scratch, 'plan');
  await mkdir(folder);
  for (const [index, module] of plan.modules.entries()) {
    const environment = { ...module.options, ...moduleEnvironment(plan, world) };
    const assignments = Object.entries(environment).map(([name, value]) => shellQuote(`${name}=${value}`));
    const script = `#!/bin/sh\nexec env -i ${assignments.join(' ')} ${shellQuote(module.file)}\n`;
    const file = join(folder, `${String(index + 1).padStart(2, '0')}-${module.name}`);
    await writeFile(file, script);
    await chmod(file, 0o700);
  }
  return folder;
}

/** The environment of every module: rootstrap's three places, ours, and PATH. */
export function moduleEnvironment(plan: Plan, world: World): Record<string, string> {
  const paths = Object.entries(plan.paths).map(([name, path]) => [name, world.writable(path)] as const);
  return {
    HOME: '/root',
    LC_ALL: 'C.UTF-8',
    TMPDIR: '/tmp',
    ...plan.environment,
    ...Object.fromEntries(paths),
    TARGET: join(plan.scratch, 'target'),
    HOST: world.host,
    WORKDIR: plan.workFolder,
    APPPOT_DRIVER: world.driver,
    APPPOT_LIB: join(plan.scratch, 'lib'),
    APPPOT_SCRIPTS: join(plan.scratch, 'scripts'),
    APPPOT_DEB: join(plan.scratch, 'apppot.deb'),
  };
}
