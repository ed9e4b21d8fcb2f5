/** Digests: of files, and of what AppPot itself puts into a runtime. */
import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../config/paths.ts';

/** Folders below image/ and the files in them that a runtime is made from. */
const INPUTS: readonly (readonly [folder: string, names: RegExp])[] = [
  ['kernel', /\.config$|^build\.sh$/],
  ['kernel/patches', /\.patch$/],
  ['slirp', /\.[ch]$|^build\.sh$/],
  ['guest', /\.[ch]$|^build\.sh$/],
  ['snap', /\.[ch]$|^build\.sh$/],
  ['host', /^apppot-start$/],
];

/**
 * Digest of AppPot's own part of a runtime: names and contents of patches, configuration, build scripts, C files
 * and launcher. About 50 small files, a few milliseconds.
 *
 * @param root the folder image/; that of this package by default
 */
export function inputsDigest(root: string = packageFile('image')): string {
  return digestOfInputs(root, INPUTS);
}

/** The same of what only the kernels are made from: the long part of a build. */
export function kernelInputsDigest(root: string = packageFile('image')): string {
  return digestOfInputs(
    root,
    INPUTS.filter(([folder]) => folder.startsWith('kernel')),
  );
}

function digestOfInputs(root: string, inputs: typeof INPUTS): string {
  const hash = createHash('sha256');
  for (const [folder, names] of inputs) {
    for (const name of readdirSync(join(root, folder)).sort()) {
      if (!names.test(name)) continue;
      const content = readFileSync(join(root, folder, name));
      hash.update(`${folder}/${name}\0${content.length}\0`).update(content);
    }
  }
  return hash.digest('hex');
}

/** SHA-256 of a file, in hexadecimal. */
export async function fileDigest(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Digest of some texts, told apart from each other; the first 32 hexadecimal digits. */
export function textDigest(...texts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, 32);
}
