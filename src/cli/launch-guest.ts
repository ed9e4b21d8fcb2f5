import { loadSettings } from '../config/load.ts';
import { launch } from '../machine/launch.ts';
import { LAUNCH_OPTIONS } from '../machine/options.ts';
import { findRuntime, type Runtime } from '../runtime/find.ts';
import type { CommandContext } from './context.ts';

/** What to start. */
export interface GuestRequest {
  readonly image?: string | undefined;
  readonly program: readonly string[];
  /** Further words for apppot-start. */
  readonly words?: readonly string[];
  /** Keep what the guest writes in a session; without a name, in the default one. */
  readonly session?: { readonly name: string | undefined } | undefined;
}

/**
 * What `run` and `shell` share: options to words, settings for what is not given, a runtime, the launch.
 *
 * @param given option values as the parser has them, by attribute name
 * @returns the exit code
 */
export async function startGuest(
  context: CommandContext,
  request: GuestRequest,
  given: Readonly<Record<string, unknown>>,
): Promise<number> {
  const settings = loadSettings();
  const runtime = await findRuntime({
    kernel: asText(given['kernel']) ?? settings.kernel?.value,
    helper: asText(given['slirp']) ?? settings.helper?.value,
  });
  const ready = await withLayers(context, given, runtime);
  const words = [...optionWords(ready), ...(request.words ?? [])];
  const image = request.image ?? settings.image?.value;
  if (request.session !== undefined && image !== undefined)
    words.push('--overlay', await sessionDisk(context, image, request.session.name, ready));
  const add = (name: string, value: string | number | undefined): void => {
    if (value !== undefined && !words.includes(name)) words.push(name, String(value));
  };
  add('--image', image);
  add('--mem', settings.mem?.value);
  add('--cpus', settings.cpus?.value);
  if (given['quiet'] === true) words.push('--quiet');
  // From here on signals are the guest's, and the supervisor's answer decides.
  context.releaseSignals();
  return launch(launchParts(runtime), { options: words, program: request.program });
}

/** Changes files become layers, which are mounted. From the first that cannot be one on, all are unpacked, in order. */
async function withLayers(
  context: CommandContext,
  given: Readonly<Record<string, unknown>>,
  runtime: Runtime,
): Promise<Readonly<Record<string, unknown>>> {
  const files = (given['changes'] as readonly string[] | undefined) ?? [];
  // The kernel of a distribution cannot mount layers.
  if (files.length === 0 || runtime.origin !== 'built' || runtime.snap === undefined) return given;
  const { layerFor } = await import('../snapshot/layer.ts');
  const options = { progress: context.display().progress(), signal: context.signal };
  const changes: string[] = [];
  for (const [index, file] of files.entries()) {
    const layer = await layerFor(file, options);
    if (layer === file && !file.endsWith('.layer')) {
      changes.push(...files.slice(index));
      break;
    }
    changes.push(layer);
  }
  return { ...given, changes };
}

/** The file where a session keeps what the guest writes. */
async function sessionDisk(
  context: CommandContext,
  image: string,
  name: string | undefined,
  given: Readonly<Record<string, unknown>>,
): Promise<string> {
  const { openSession } = await import('../machine/sessions.ts');
  const { readChangesFile } = await import('../machine/changes.ts');
  const files = (given['changes'] as readonly string[] | undefined) ?? [];
  const session = await openSession(image, name, await Promise.all(files.map(readChangesFile)));
  context.display().progress().note(`changes are kept in the session ${session.name}`);
  return session.cow;
}

/** The parts that lie beside apppot-start are found by it; of others it has to be told. */
function launchParts(runtime: Runtime): Parameters<typeof launch>[0] {
  if (runtime.origin === 'built') return { start: runtime.start };
  const { start, kernel, helper } = runtime;
  return { start, kernel, ...(helper === undefined ? {} : { helper }) };
}

/** Option values back to words of apppot-start, in the order of the table. */
export function optionWords(given: Readonly<Record<string, unknown>>): string[] {
  const words: string[] = [];
  for (const { name, flags } of LAUNCH_OPTIONS) {
    const long = /--([a-z-]+)/.exec(flags)?.[1] ?? '';
    const negated = long.startsWith('no-');
    const key = (negated ? long.slice(3) : long).replace(/-([a-z])/g, (_match, letter: string) =>
      letter.toUpperCase(),
    );
    const value = given[key];
    if (negated ? value === false : value === true) words.push(name);
    else if (typeof value === 'string') words.push(name, value);
    else if (Array.isArray(value)) for (const item of value) words.push(name, String(item));
  }
  return words;
}

function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
