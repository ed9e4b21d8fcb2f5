import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { launch, type GuestParts } from './guest.ts';

/** What a changes file does: contents by path, and paths that it deletes. */
export interface Edit {
  readonly files?: Readonly<Record<string, string>>;
  readonly deleted?: readonly string[];
}

/** The base that an image says it has. */
export function baseOf(image: string): string {
  return execFileSync('/sbin/debugfs', ['-R', 'cat /var/lib/apppot/base-id', image], { stdio: 'pipe' })
    .toString()
    .trim();
}

/**
 * A changes file: what a script does to the image as root, written by apppot-snap in the guest as `NAME.tar` in `folder`.
 *
 * @param other true to belong to another base than the image's
 */
export async function makeTar(
  parts: GuestParts,
  folder: string,
  name: string,
  script: string,
  other = false,
): Promise<string> {
  const base = other ? 'echo other >/etc/other-base && apppot-snap base' : 'true';
  const write = `cd /home/user/job && apppot-snap changes -o ${name}.tar`;
  const words = ['--', 'sudo', 'sh', '-ec', `{ ${base}; ${script}; ${write}; } >/dev/null`];
  const ended = await launch(parts, words, { cwd: folder }).ended;
  if (ended.code !== 0) throw new Error(`cannot make ${name}.tar: ${ended.stderr}`);
  return path.join(folder, `${name}.tar`);
}

/** A layer, by sqfstar and a block of our own: `NAME.layer` in `folder`. */
export function makeLayer(parts: GuestParts, folder: string, name: string, base: string, edit: Edit): string {
  const tree = path.join(folder, `${name}.tree`);
  lay(tree, edit);
  const layer = path.join(folder, `${name}.layer`);
  const tar = execFileSync('tar', ['--owner=0', '--group=0', '--numeric-owner', '-C', tree, '-c', '.'], {
    maxBuffer: 1e9,
  });
  // Not compressed: the time of a test is short.
  execFileSync('sqfstar', ['-noI', '-noD', '-noF', '-noX', '-quiet', '-no-progress', layer], {
    input: tar,
    // It has a word for the root folder, which is there already.
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  sealLayer(parts, layer, base);
  return layer;
}

/** Appends the last block, of which image/slirp/changes.c tells. */
export function sealLayer(parts: GuestParts, layer: string, base: string): void {
  truncateSync(layer, Math.ceil(statSync(layer).size / 4096) * 4096);
  const crc = execFileSync(path.join(parts.runtime, 'slirp'), ['--crc32c', layer]).toString().trim();
  const digest = createHash('sha256').update(readFileSync(layer)).digest('hex');
  const text = [
    'APPPOT-LAYER 1',
    `base=${base}`,
    `changes=${digest}`,
    `size=${statSync(layer).size}`,
    `sha256=${digest}`,
    `crc32c=${crc}`,
    '',
    '',
  ].join('\n');
  const block = Buffer.alloc(4096);
  block.write(text);
  appendFileSync(layer, block);
}

function lay(tree: string, edit: Edit): void {
  mkdirSync(tree);
  for (const [name, content] of Object.entries(edit.files ?? {})) {
    mkdirSync(path.dirname(path.join(tree, name)), { recursive: true });
    writeFileSync(path.join(tree, name), content, { mode: 0o755 });
  }
  for (const name of edit.deleted ?? []) {
    mkdirSync(path.dirname(path.join(tree, name)), { recursive: true });
    // What overlayfs takes for a deleted file; everybody may make it since Linux 5.8.
    execFileSync('mknod', [path.join(tree, name), 'c', '0', '0']);
  }
}
