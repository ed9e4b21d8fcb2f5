/** Builds the Debian package `apppot` that goes into every image. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../config/paths.ts';
import { run } from '../process/run.ts';

/** A package that has been built. */
export interface GuestPackage {
  readonly file: string;
  /** SHA-256 of the package's bytes. */
  readonly digest: string;
}

/**
 * Builds the package: the runner by image/guest/build.sh, apppot-snap by image/snap/build.sh, then image/guest/build-deb.sh. The same sources
 * and compiler give the same bytes.
 *
 * @param folder a private folder for the result
 * @throws ApppotError `missing-tool` without a C compiler or dpkg-deb
 */
export async function buildGuestPackage(folder: string, signal: AbortSignal): Promise<GuestPackage> {
  const { version } = JSON.parse(await readFile(packageFile('package.json'), 'utf8')) as { version: string };
  const sources = packageFile('image', 'guest');
  const runner = join(folder, 'apppot-guest');
  await run('sh', [join(sources, 'build.sh'), '--output', runner], { signal });
  const snap = join(folder, 'apppot-snap');
  await run('sh', [packageFile('image', 'snap', 'build.sh'), '--output', snap], { signal });
  const file = join(folder, `apppot_${version}.deb`);
  await run('sh', [join(sources, 'build-deb.sh'), file, version, runner, snap], {
    env: { SOURCE_DATE_EPOCH: '0' },
    signal,
  });
  const digest = createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
  return { file, digest };
}

/** The packages that `apppot` depends on: every image has them. */
export async function guestDependencies(): Promise<readonly string[]> {
  const control = await readFile(packageFile('image', 'guest', 'control.in'), 'utf8');
  const line = /^Depends:(.*)$/m.exec(control)?.[1] ?? '';
  return line.split(',').flatMap((word) => word.trim().split(/[ (|]/)[0] ?? []);
}
