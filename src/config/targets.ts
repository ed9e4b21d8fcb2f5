/** Where jobs can go: sections `[target NAME]` of apppot.ini. */
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import * as v from 'valibot';
import { ApppotError } from '../errors.ts';
import { isProjectFile, readIniFile } from './ini-file.ts';
import { settingsFiles } from './load.ts';
import { didYouMean } from './nearest.ts';
import { TARGET_KEYS, type TargetKey } from './target-keys.ts';

type Value<Key extends TargetKey> = v.InferOutput<(typeof TARGET_KEYS)[Key]['schema']>;
type KeysOf<Type extends TargetType> = {
  [Key in TargetKey]: Type extends (typeof TARGET_KEYS)[Key]['types'][number] ? Key : never;
}[TargetKey];

export type TargetType = 'local' | 'slurm' | 'arc';

/** One target as it is set: its values, and where each came from (`file:line`, a variable, or "default"). */
export type TargetOf<Type extends TargetType> = {
  readonly [Key in KeysOf<Type>]?: Value<Key>;
} & {
  readonly name: string;
  readonly type: Type;
  readonly origins: ReadonlyMap<string, string>;
};
export type LocalTarget = TargetOf<'local'>;
export type SlurmTarget = TargetOf<'slurm'>;
export type ArcTarget = TargetOf<'arc'>;
export type Target = LocalTarget | SlurmTarget | ArcTarget;

interface Raw {
  readonly name: string;
  readonly place: string;
  readonly file: string;
  readonly values: Map<string, { readonly value: string; readonly origin: string }>;
}

/** They say who the user is, or name programs that run as the user, outside of any guest. */
const NOT_IN_PROJECTS: readonly string[] = [
  'certificate',
  'key',
  'proxy',
  'token_file',
  'token_env',
  'ca_dir',
  'runtime',
  'path',
  'ssh_config',
];

/**
 * All targets, `local` among them even when no file names it. A section in a later file (system, user, project) stands
 * for the whole target; APPPOT_TARGET_NAME_KEY in the environment overrides one value.
 *
 * @throws ApppotError `config` with every wrong key and value, by file and line
 */
export function loadTargets(environment: NodeJS.ProcessEnv = process.env): ReadonlyMap<string, Target> {
  const problems: string[] = [];
  const raws = readSections(environment, problems);
  if (!raws.has('local'))
    raws.set('local', {
      name: 'local',
      place: 'default',
      file: '',
      values: new Map([['type', { value: 'local', origin: 'default' }]]),
    });
  const targets = new Map<string, Target>();
  for (const raw of raws.values()) {
    override(raw, environment);
    const target = check(raw, problems);
    if (target !== undefined) targets.set(raw.name, target);
  }
  if (problems.length > 0)
    throw new ApppotError('config', problems.join('\n'), {
      hint: 'docs/targets.md lists the keys of a [target NAME] section; "apppot config --origin" shows what is set where.',
    });
  return targets;
}

/** @throws ApppotError `config` when there is no target of this name */
export function loadTarget(name: string, environment: NodeJS.ProcessEnv = process.env): Target {
  const targets = loadTargets(environment);
  const target = targets.get(name);
  if (target !== undefined) return target;
  throw new ApppotError('config', `There is no target "${name}".`, {
    hint: `${didYouMean(name, [...targets.keys()])}Targets: ${[...targets.keys()].join(', ')}. Another one is a section [target ${name}] in ~/.config/apppot/apppot.ini.`,
  });
}

function readSections(environment: NodeJS.ProcessEnv, problems: string[]): Map<string, Raw> {
  const raws = new Map<string, Raw>();
  for (const file of settingsFiles(environment)) {
    const project = isProjectFile(file);
    for (const { section, key, value, place } of readIniFile(file)) {
      if (!section.startsWith('target')) continue;
      const name = /^target ([A-Za-z0-9][A-Za-z0-9_-]{0,63})$/.exec(section)?.[1];
      if (name === undefined) {
        if (key === '')
          problems.push(
            `${place}: [${section}] is no target: [target NAME], of letters, digits, "-" and "_".`,
          );
        continue;
      }
      if (key === '') {
        if (project && raws.has(name))
          // A folder that somebody else filled must not send the user's jobs and tokens elsewhere.
          problems.push(
            `${place}: target "${name}" is set in ${raws.get(name)?.place ?? ''}; a project names its own.`,
          );
        else if (raws.get(name)?.file !== file) raws.set(name, { name, place, file, values: new Map() });
        continue;
      }
      if (project && NOT_IN_PROJECTS.includes(key))
        problems.push(
          `${place}: ${key} belongs into your own ~/.config/apppot/apppot.ini, not into a project's.`,
        );
      else if (value === undefined || value === '') problems.push(`${place}: ${key} has no value.`);
      else raws.get(name)?.values.set(key, { value, origin: place });
    }
  }
  return raws;
}

function variableOf(target: string, key: string): string {
  return `APPPOT_TARGET_${target}_${key}`.toUpperCase().replaceAll('-', '_');
}

function override(raw: Raw, environment: NodeJS.ProcessEnv): void {
  for (const { ini } of Object.values(TARGET_KEYS)) {
    const variable = variableOf(raw.name, ini);
    const value = environment[variable];
    if (value !== undefined && value !== '') raw.values.set(ini, { value, origin: variable });
  }
}

function check(raw: Raw, problems: string[]): Target | undefined {
  const before = problems.length;
  const type = raw.values.get('type')?.value;
  if (type !== 'local' && type !== 'slurm' && type !== 'arc') {
    const place = raw.values.get('type')?.origin ?? raw.place;
    problems.push(`${place}: target "${raw.name}" needs type = local, slurm or arc.`);
    return undefined;
  }
  const origins = new Map<string, string>();
  const target: Record<string, unknown> = { name: raw.name, type, origins };
  for (const [key, { value, origin }] of raw.values) {
    origins.set(key, origin);
    if (key === 'type') continue;
    const declared = Object.entries(TARGET_KEYS).find(([, known]) => known.ini === key);
    if (declared === undefined || !(declared[1].types as readonly string[]).includes(type)) {
      const known = Object.values(TARGET_KEYS)
        .filter(({ types }) => (types as readonly string[]).includes(type))
        .map(({ ini }) => ini);
      problems.push(
        `${origin}: a target of type ${type} has no "${key}". ${didYouMean(key, known)}`.trimEnd(),
      );
      continue;
    }
    const [name, { schema, isLocalPath }] = declared;
    const result = v.safeParse(schema, isLocalPath ? localPath(value, raw.file) : value);
    if (result.success) target[name] = result.output;
    else problems.push(`${origin}: ${key} ${result.issues[0].message}, not "${value}".`);
  }
  if (problems.length === before) problems.push(...contradictions(raw, target));
  return problems.length === before ? (target as unknown as Target) : undefined;
}

/** What no single value can tell. */
function contradictions(raw: Raw, target: Readonly<Record<string, unknown>>): string[] {
  const at = (key: string): string => raw.values.get(key)?.origin ?? raw.place;
  const has = (key: string): boolean => target[key] !== undefined;
  const found: string[] = [];
  if (target['type'] === 'arc') {
    if (!has('endpoint')) found.push(`${raw.place}: target "${raw.name}" needs an endpoint.`);
    if (has('certificate') !== has('key'))
      found.push(`${at('certificate')}: certificate and key belong together.`);
    const ways = ['certificate', 'proxy', 'tokenFile', 'tokenEnv'].filter(has);
    if (ways.length === 0 && raw.file !== '' && isProjectFile(raw.file))
      found.push(
        `${raw.place}: a site that a project names gets no credentials by itself: put the target into your own settings, or set ${variableOf(raw.name, 'proxy')} or another of its variables.`,
      );
    if (ways.length > 1)
      found.push(
        `${raw.place}: one of certificate, proxy, token_file and token_env, not ${ways.length} of them.`,
      );
  }
  if (target['type'] === 'slurm' && !has('ssh'))
    for (const key of ['transport', 'sshConfig'])
      if (has(key))
        found.push(`${raw.place}: target "${raw.name}" needs ssh = [user@]host for its ssh settings.`);
  return found;
}

/** A path here: `~` is the home folder, and a relative one starts where the file lies that has it. */
function localPath(value: string, file: string): string {
  const path = value.replace(/^~(?=\/|$)/, homedir());
  return isAbsolute(path) ? path : join(resolve(dirname(file)), path);
}
