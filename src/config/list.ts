import { loadSettings } from './load.ts';
import { SETTINGS, type SettingKey } from './settings.ts';
import { TARGET_KEYS, type TargetKey } from './target-keys.ts';
import { loadTargets } from './targets.ts';

/** One setting for people; value and origin are missing where nothing gives one. */
export interface ListedSetting {
  readonly name: string;
  readonly value?: string;
  readonly origin?: string;
  /** Variable that overrides it. */
  readonly variable?: string;
  readonly description: string;
}

/**
 * All settings, and those of all targets.
 *
 * @throws ApppotError `config` when one of them is wrong
 */
export function listSettings(environment: NodeJS.ProcessEnv = process.env): readonly ListedSetting[] {
  const settings = loadSettings(environment);
  const general = (Object.keys(SETTINGS) as SettingKey[]).map((key) => {
    const { name, variable, description } = SETTINGS[key];
    const found = settings[key];
    return {
      name,
      variable,
      description,
      ...(found === undefined ? {} : { value: String(found.value), origin: found.origin }),
    };
  });
  const targets = [...loadTargets(environment).values()].flatMap((target) =>
    [...target.origins].map(([ini, origin]) => {
      const key = (Object.keys(TARGET_KEYS) as TargetKey[]).find((one) => TARGET_KEYS[one].ini === ini);
      const value: unknown = key === undefined ? target.type : (target as Record<string, unknown>)[key];
      return {
        name: `target ${target.name}.${ini}`,
        value: Array.isArray(value) ? value.join(' ') : String(value),
        origin,
        description: key === undefined ? 'Kind of target.' : TARGET_KEYS[key].description,
      };
    }),
  );
  return [...general, ...targets];
}
