/** Grows images. */
import { open, truncate } from 'node:fs/promises';
import { ApppotError, systemCode } from '../errors.ts';
import { run } from '../process/run.ts';
import type { Progress } from '../progress.ts';
import { findMirrors, proxyEnvironment } from '../config/mirrors.ts';
import { formatSize, toMebibytes } from './size.ts';
import { findTools, toolCommand } from './tools.ts';

/** What {@link resizeImage} did. */
export interface ResizeResult {
  readonly image: string;
  readonly sizeMebibytes: number;
  readonly sizeMebibytesBefore: number;
}

/**
 * Makes an image and the file system in it larger; checks the file system before. On failure the file has its old
 * size again.
 *
 * @param image path of a raw image whose whole length is one ext2, ext3 or ext4 file system
 * @param mebibytes the new size
 * @throws ApppotError `not-found`, `image-invalid`, `usage` when the image is larger already, `permission`
 */
export async function resizeImage(
  image: string,
  mebibytes: number,
  progress: Progress,
  signal: AbortSignal,
): Promise<ResizeResult> {
  const before = await checkedLength(image);
  const length = mebibytes * 1024 * 1024;
  if (length < before)
    throw new ApppotError(
      'usage',
      `${image} has ${formatSize(toMebibytes(before))} and cannot be made smaller.`,
      {
        hint: 'Build a new image with --size.',
      },
    );
  const tools = await findTools(await findMirrors(undefined, signal), await proxyEnvironment(signal), signal);
  await progress.step('Checking the file system', async () => {
    // 1: errors were corrected. What needs a decision is not for us to decide.
    const { exitCode } = await runTool(tools, 'e2fsck', ['-fp', image], [0, 1, 4, 8, 12], signal);
    if (exitCode > 1)
      throw new ApppotError('image-invalid', `The file system in ${image} is damaged.`, {
        hint: `Repair it with: e2fsck -f ${image}`,
      });
  });
  await progress.step('Growing the file system', async () => {
    await truncate(image, length);
    try {
      await runTool(tools, 'resize2fs', [image], [0], signal);
    } catch (error) {
      if (!(error instanceof ApppotError && error.code === 'interrupted')) await truncate(image, before);
      throw error;
    }
  });
  return { image, sizeMebibytes: mebibytes, sizeMebibytesBefore: toMebibytes(before) };
}

async function runTool(
  tools: string,
  name: string,
  args: readonly string[],
  okCodes: readonly number[],
  signal: AbortSignal,
): Promise<{ readonly exitCode: number }> {
  const command = await toolCommand(tools, name);
  return run(command.file, [...command.args, ...args], { okCodes, signal });
}

/** The length of an image; its superblock says ext2, ext3 or ext4 (magic 0xEF53 at 1024 + 56). */
async function checkedLength(image: string): Promise<number> {
  try {
    const file = await open(image, 'r+');
    try {
      const magic = Buffer.alloc(2);
      await file.read(magic, 0, 2, 1024 + 56);
      const status = await file.stat();
      if (!status.isFile() || magic.readUInt16LE(0) !== 0xef53)
        throw new ApppotError(
          'image-invalid',
          `${image} is no image with an ext2, ext3 or ext4 file system.`,
        );
      return status.size;
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') throw new ApppotError('not-found', `There is no image ${image}.`);
    if (code === 'EACCES' || code === 'EISDIR' || code === 'EROFS' || code === 'EPERM')
      throw new ApppotError('permission', `The image ${image} cannot be written to (${code}).`, {
        cause: error,
      });
    throw error;
  }
}
