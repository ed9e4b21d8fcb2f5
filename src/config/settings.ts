import * as v from 'valibot';

/** One setting: declared here once; the INI file, the environment and the help text follow from it. */
export interface Setting<T> {
  /** Section and key in apppot.ini, joined by a dot. */
  readonly name: string;
  /** Environment variable that overrides the files. */
  readonly variable: string;
  readonly description: string;
  /** Checks and converts the text from a file or the environment. */
  readonly schema: v.GenericSchema<string, T>;
  readonly fallback: T | undefined;
}

const text = v.pipe(v.string(), v.minLength(1, 'must not be empty'));
const count = v.pipe(
  v.string(),
  v.regex(/^[1-9]\d{0,8}$/, 'must be a whole number above 0'),
  v.transform(Number),
);
const size = v.pipe(
  v.string(),
  v.regex(/^\d{1,12}[KkMmGgTt]?$/, 'must be a size such as 512M or 4G (a bare number is MB)'),
);
const url = v.pipe(v.string(), v.regex(/^(?:https?|file|copy):\/\/?\S+$/, 'must be a URL'));

/** Every setting of AppPot. */
export const SETTINGS = {
  image: declare('run.image', 'APPPOT_IMAGE', 'Image to start.', text),
  mem: declare('run.mem', 'APPPOT_MEM', "Guest's memory.", size),
  cpus: declare('run.cpus', 'APPPOT_CPUS', "Guest's processors.", count),
  kernel: declare('runtime.kernel', 'APPPOT_KERNEL', 'User-Mode Linux kernel to use.', text),
  helper: declare('runtime.helper', 'APPPOT_HELPER', 'Supervisor (slirp) to use.', text),
  mirror: declare('build.mirror', 'APPPOT_MIRROR', 'Debian mirror for images and sources.', url),
  release: declare('build.release', 'APPPOT_RELEASE', 'Debian release of new images.', text, 'stable'),
  driver: declare(
    'build.driver',
    'APPPOT_DRIVER',
    'How images are built: unshare, uml or rootstrap; the first that works by default.',
    v.picklist(['unshare', 'uml', 'rootstrap'], 'must be unshare, uml or rootstrap'),
  ),
  target: declare('submit.target', 'APPPOT_TARGET', 'Target of "apppot submit" without --to.', text, 'local'),
} as const;

export type SettingKey = keyof typeof SETTINGS;

function declare<T>(
  name: string,
  variable: string,
  description: string,
  schema: v.GenericSchema<string, T>,
  fallback?: T,
): Setting<T> {
  return { name, variable, description, schema, fallback };
}
