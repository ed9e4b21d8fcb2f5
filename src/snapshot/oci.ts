/**
 * Writes a source as an OCI image layout: base and changes as two layers.
 *
 * @see https://github.com/opencontainers/image-spec (image-layout.md, layer.md, config.md)
 */
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { ApppotError, systemCode } from '../errors.ts';
import type { Progress } from '../progress.ts';
import { noRoom, readSource, together } from './changes.ts';
import { compressInto } from './compress.ts';
import type { Summary } from './engine.ts';
import { NOTHING_BASE } from './guest.ts';
import { findSource, type Source } from './source.ts';

/** What {@link writeOci} takes. */
export interface OciOptions {
  readonly force: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** The layout that was written; the counts are of the changes. */
export interface OciResult extends Content {
  readonly folder: string;
}

interface Content extends Summary {
  /** Digest of the manifest. */
  readonly manifest: string;
  readonly fileBytes: number;
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

interface Layer extends Blob {
  /** Digest of the tar before its compression. */
  readonly diffId: string;
  readonly summary: Summary;
}

const TYPE = 'application/vnd.oci.image';
/** Nothing of the time of writing goes in: the same state gives the same bytes. */
const CREATED = '1970-01-01T00:00:00Z';
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * Writes the layout into a new folder, which is there only when it is complete.
 *
 * @param name an image, COW:IMAGE or a session. The first layer is the image's own file system; of an image that was
 *   itself written to since its base, it holds those changes, too.
 * @throws ApppotError as `writeChanges`
 */
export async function writeOci(name: string, folder: string, options: OciOptions): Promise<OciResult> {
  const target = resolve(folder);
  if (!options.force && (await stat(target).catch(() => undefined)) !== undefined)
    throw new ApppotError('exists', `${folder} is there already.`, {
      hint: 'Name another folder, or give --force to replace it.',
    });
  const source = await findSource(name);
  const part = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.part`);
  try {
    await mkdir(join(part, 'blobs', 'sha256'), { recursive: true }).catch((error: unknown) => {
      const code = systemCode(error) === 'ENOENT' ? 'not-found' : 'permission';
      throw new ApppotError(code, `The folder ${folder} cannot be made.`, { cause: error });
    });
    const result = await fill(source, part, options);
    await replaceFolder(part, target);
    return { ...result, folder };
  } catch (error) {
    throw noRoom(error, folder);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
}

async function fill(source: Source, part: string, options: OciOptions): Promise<Content> {
  const image: Source = { name: source.image, kind: 'image', image: source.image, layers: [] };
  const layers = [
    await addLayer(part, image, ['--base', NOTHING_BASE, 'changes', '-o', '-'], 'Base layer', options),
    await addLayer(part, source, ['changes', '-o', '-'], 'Changes layer', options),
  ];
  const summary = layers[1]?.summary ?? {};
  const config = await addJson(part, `${TYPE}.config.v1+json`, {
    created: CREATED,
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: 'linux',
    config: {
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      Cmd: ['/bin/bash'],
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: [
      { created: CREATED, created_by: 'apppot build-image' },
      { created: CREATED, created_by: 'apppot snap changes' },
    ],
  });
  const manifest = await addJson(part, `${TYPE}.manifest.v1+json`, {
    schemaVersion: 2,
    mediaType: `${TYPE}.manifest.v1+json`,
    config,
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    ...(summary.base === undefined ? {} : { annotations: { 'org.apppot.base': summary.base } }),
  });
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' };
  const index = {
    schemaVersion: 2,
    mediaType: `${TYPE}.index.v1+json`,
    manifests: [{ ...manifest, annotations }],
  };
  await writeFile(join(part, 'index.json'), JSON.stringify(index));
  await writeFile(join(part, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const fileBytes = [config, manifest, ...layers].reduce((sum, { size }) => sum + size, 0);
  return { ...summary, manifest: manifest.digest, fileBytes };
}

/** Reads the source in a guest, compresses here, and counts digests on both sides of the compression. */
async function addLayer(
  part: string,
  source: Source,
  words: readonly string[],
  title: string,
  { progress, signal }: OciOptions,
): Promise<Layer> {
  return progress.step(title, async (step) => {
    const temporary = join(part, 'layer.part');
    const [plain, packed] = [new Meter(), new Meter()];
    const file = createWriteStream(temporary, { flags: 'wx' });
    packed.pipe(file);
    const written = new Promise<void>((done, fail) => file.once('error', fail).once('close', done));
    const answer = await together(signal, async (own) => {
      const stage = await compressInto('gzip', packed, own);
      plain.pipe(stage.input);
      return { main: readSource(source, words, plain, step, own), others: [stage.done, written] };
    });
    await rename(temporary, join(part, 'blobs', 'sha256', packed.hex()));
    return {
      mediaType: `${TYPE}.layer.v1.tar+gzip`,
      digest: `sha256:${packed.hex()}`,
      size: packed.bytes,
      diffId: `sha256:${plain.hex()}`,
      summary: answer.summary ?? {},
    };
  });
}

async function addJson(part: string, mediaType: string, content: unknown): Promise<Blob> {
  const bytes = Buffer.from(JSON.stringify(content));
  const hex = createHash('sha256').update(bytes).digest('hex');
  await writeFile(join(part, 'blobs', 'sha256', hex), bytes);
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
}

async function replaceFolder(from: string, to: string): Promise<void> {
  const old = `${from}.old`;
  const isThere = await rename(to, old).then(
    () => true,
    () => false,
  );
  await rename(from, to);
  if (isThere) await rm(old, { recursive: true, force: true });
}

/** Counts and digests what passes. */
class Meter extends Transform {
  bytes = 0;
  readonly #hash = createHash('sha256');
  #hex: string | undefined;

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, data: Buffer) => void): void {
    this.bytes += chunk.length;
    this.#hash.update(chunk);
    done(null, chunk);
  }

  /** SHA-256 of everything; once it has passed. */
  hex(): string {
    return (this.#hex ??= this.#hash.digest('hex'));
  }
}
