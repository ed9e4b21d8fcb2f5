import { join } from 'node:path';
import * as v from 'valibot';
import { ApppotError } from '../errors.ts';
import { isProjectFile, readIniFile } from './ini-file.ts';
import { didYouMean } from './nearest.ts';
import { configFolder } from './paths.ts';
import { SETTINGS, type Setting, type SettingKey } from './settings.ts';

/** A setting's value, and where it came from: `file:line`, a variable's name, or "default". */
export interface Sourced<T> {
  readonly value: T;
  readonly origin: string;
}

/** All settings as they hold now; undefined where nothing gives a value. */
export type Settings = {
  readonly [K in SettingKey]: Sourced<(typeof SETTINGS)[K] extends Setting<infer T> ? T : never> | undefined;
};

/**
 * Reads the settings: system, user and project file, then the environment; a later one wins.
 *
 * @throws ApppotError `config-syntax` for a file that is no INI file, `config` with every wrong key and value
 */
export function loadSettings(environment: NodeJS.ProcessEnv = process.env): Settings {
  const found = new Map<string, Sourced<string>>();
  const problems: string[] = [];
  for (const file of settingsFiles(environment)) readFile(file, found, problems);
  for (const { name, variable } of Object.values(SETTINGS)) {
    const value = environment[variable];
    if (value !== undefined && value !== '') found.set(name, { value, origin: variable });
  }
  const settings: Record<string, Sourced<unknown> | undefined> = {};
  for (const [key, setting] of Object.entries(SETTINGS)) {
    settings[key] = check(setting as Setting<unknown>, found.get(setting.name), problems);
  }
  if (problems.length > 0) {
    throw new ApppotError('config', problems.join('\n'), {
      hint: `Known settings: ${Object.values(SETTINGS)
        .map(({ name }) => name)
        .join(', ')}.`,
    });
  }
  return settings as Settings;
}

/** The files that are read, lowest priority first; they need not exist. */
export function settingsFiles(environment: NodeJS.ProcessEnv = process.env): readonly string[] {
  const system = (environment['XDG_CONFIG_DIRS'] ?? '/etc/xdg')
    .split(':')
    .filter((folder) => folder.startsWith('/'))
    .reverse()
    .map((folder) => join(folder, 'apppot', 'apppot.ini'));
  return [...system, configFolder('apppot.ini'), 'apppot.ini'];
}

function readFile(file: string, found: Map<string, Sourced<string>>, problems: string[]): void {
  const known = new Set<string>(Object.values(SETTINGS).map(({ name }) => name));
  for (const { section, key, value, place } of readIniFile(file)) {
    // Sections of targets are read by targets.ts; an entry without a key is a section's head.
    if (section.startsWith('target ') || (key === '' && section !== '')) continue;
    const name = `${section}.${key}`;
    if (section === '') problems.push(`${place}: "${key}" stands outside of a section.`);
    else if (!known.has(name))
      problems.push(`${place}: there is no setting ${name}. ${didYouMean(name, [...known])}`.trimEnd());
    else if (value === undefined) problems.push(`${place}: ${name} has no value.`);
    else if (isProjectFile(file) && section === 'runtime')
      // It names programs that run here, outside of any guest.
      problems.push(`${place}: ${name} belongs into your own settings, not into a project's.`);
    else found.set(name, { value, origin: place });
  }
}

function check<T>(
  setting: Setting<T>,
  given: Sourced<string> | undefined,
  problems: string[],
): Sourced<T> | undefined {
  if (given === undefined) {
    return setting.fallback === undefined ? undefined : { value: setting.fallback, origin: 'default' };
  }
  const result = v.safeParse(setting.schema, given.value);
  if (result.success) return { value: result.output, origin: given.origin };
  const reason = result.issues.map((issue) => issue.message).join(', ');
  problems.push(`${given.origin}: ${setting.name} ${reason}, not "${given.value}".`);
  return undefined;
}
