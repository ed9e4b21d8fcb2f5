/**
 * Driver `rootstrap`: the program of that name, which Debian no longer has. Known from its manual page only, and tried
 * with a stand-in that keeps to it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../../errors.ts';
import { run } from '../../process/run.ts';
import { copyFiles, removeFolder } from '../scratch.ts';
import type { Driver, Plan } from './driver.ts';
import { moduleEnvironment } from './steps.ts';

/** The driver. It is given a folder of its own with one rootstrap.conf and all modules. */
export const rootstrapDriver: Driver = {
  name: 'rootstrap',
  reasonAgainst: async () => {
    try {
      // It has no --version; its usage text comes with some code of its own.
      await run('rootstrap', ['--help'], { okCodes: Array.from({ length: 128 }, (_, code) => code) });
      return undefined;
    } catch (error) {
      if (error instanceof ApppotError && error.code === 'missing-tool')
        return 'there is no program rootstrap';
      throw error;
    }
  },
  build,
  remove: removeFolder,
};

async function build(plan: Plan): Promise<void> {
  const folder = join(plan.scratch, 'rootstrap');
  await mkdir(folder);
  await copyFiles(join(plan.scratch, 'modules'), join(folder, 'modules'));
  await writeFile(join(folder, 'rootstrap.conf'), configuration(plan));
  const image = join(folder, 'image');
  await run('rootstrap', ['-s', String(plan.sizeMebibytes), '-o', plan.logFile, image], {
    cwd: folder,
    logFile: plan.logFile,
    signal: plan.signal,
  });
  await run('cp', ['--sparse=always', '--', image, plan.image], { signal: plan.signal });
}

/** One configuration with everything in it; what is ours goes into [global], which all modules see. */
function configuration(plan: Plan): string {
  const names = plan.modules.map((module) => module.name).join(' ');
  // What rootstrap says itself.
  const places = ['TARGET', 'HOST', 'WORKDIR'];
  const world = { driver: 'rootstrap', host: '', writable: (path: string) => path };
  const ours = Object.fromEntries(
    Object.entries(moduleEnvironment(plan, world)).filter(([name]) => !places.includes(name)),
  );
  const global = { ...ours, APPPOT_IMAGE: '/dev/ubda', modules: names };
  const sections = plan.modules.map((module) => section(module.name, module.options));
  return [section('global', global), ...sections].join('\n');
}

function section(name: string, options: Readonly<Record<string, string>>): string {
  const lines = Object.entries(options).map(
    ([option, value]) => `${option}=${value.replaceAll('\n', '\n\t')}`,
  );
  return `[${name}]\n${lines.join('\n')}\n`;
}
