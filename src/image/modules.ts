/** Which modules a configuration asks for, where they are, and what they get. */
import { access, constants, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import type { Conf, ConfSection, ConfValue } from './conf.ts';
import { nearest, suggestion } from './suggest.ts';

/** A module that will run. */
export interface Module {
  readonly name: string;
  /** Its executable. */
  readonly file: string;
  /** Its options: those of its section over the global ones. */
  readonly options: Readonly<Record<string, string>>;
}

/** The options of [global] that are for rootstrap itself. All of them are in the environment of modules too. */
const GLOBAL_OPTIONS = ['modules', 'fstype', 'initialsize', 'freespace', 'umlargs', 'PATH'];

/** Where modules are looked for, the first that has one wins: the working folder's own, then ours, then rootstrap's. */
export function moduleFolders(workFolder: string): readonly string[] {
  return [join(workFolder, 'modules'), packageFile('modules'), '/usr/lib/rootstrap/modules'];
}

/**
 * The modules that `[global] modules=` names, in that order, with their options.
 *
 * @param conf the merged configuration
 * @param workFolder the folder that the build was started in
 * @throws ApppotError `config` for unknown sections and modules, with file and line
 */
export async function resolveModules(conf: Conf, workFolder: string): Promise<readonly Module[]> {
  const available = await availableModules(moduleFolders(workFolder));
  const global = conf.get('global');
  const list = global?.options.get('modules');
  if (global === undefined || list === undefined || list.value === '')
    throw new ApppotError('config', 'The configuration has no option "modules" in its section [global].');
  const names = list.value.split(/\s+/);
  for (const name of names) {
    if (!available.has(name))
      throw new ApppotError('config', `${at(list)}: there is no module "${name}".`, {
        hint: `${suggestion(name, [...available.keys()])} Modules of your own go into ${join(workFolder, 'modules')}.`,
      });
  }
  checkSections(conf, [...available.keys()]);
  return names.map((name) => ({
    name,
    file: available.get(name) ?? '',
    options: { ...valuesOf(global), ...valuesOf(conf.get(name)) },
  }));
}

function checkSections(conf: Conf, modules: readonly string[]): void {
  for (const [name, section] of conf) {
    if (name !== 'global' && !modules.includes(name))
      throw new ApppotError(
        'config',
        `${section.file}:${section.line}: section [${name}] is not for any module.`,
        {
          hint: suggestion(name, ['global', ...modules]),
        },
      );
    if (name !== 'global') continue;
    // Any global option is in the environment of every module, so a strange one is no error, but a misspelt one is.
    for (const [option, value] of section.options)
      if (!GLOBAL_OPTIONS.includes(option) && nearest(option, GLOBAL_OPTIONS) !== undefined)
        throw new ApppotError('config', `${at(value)}: [global] has no option "${option}".`, {
          hint: suggestion(option, GLOBAL_OPTIONS),
        });
  }
}

/** Every executable of every folder by name; hidden files and backups are none. */
async function availableModules(folders: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const folder of folders) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names.sort()) {
      if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name) || found.has(name)) continue;
      const file = join(folder, name);
      const executable = await access(file, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (executable) found.set(name, file);
    }
  }
  return found;
}

function valuesOf(section: ConfSection | undefined): Record<string, string> {
  return Object.fromEntries([...(section?.options ?? [])].map(([name, { value }]) => [name, value]));
}

/** "file:line" of a value. */
export function at(value: ConfValue): string {
  return `${value.file}:${value.line}`;
}
