/**
 * Superblocks of ext2, ext3 and ext4.
 *
 * @see https://docs.kernel.org/filesystems/ext4/globals.html#super-block
 */
import { open, type FileHandle } from 'node:fs/promises';

const SIZE = 1024;
const MAGIC = 0xef53;
/** Offsets of fields. */
const AT = {
  blocksCount: 0x04,
  freeBlocksCount: 0x0c,
  firstDataBlock: 0x14,
  logBlockSize: 0x18,
  blocksPerGroup: 0x20,
  magic: 0x38,
  featureIncompatible: 0x60,
  featureReadOnlyCompatible: 0x64,
  freeBlocksCountHigh: 0x158,
  kilobytesWritten: 0x178,
  checksum: 0x3fc,
} as const;
const METADATA_CSUM = 0x400;
const RECOVER = 0x4;
const IS_64BIT = 0x80;

/**
 * Clears the count of kilobytes ever written in all copies of an image's superblock. mke2fs counts what it wrote itself,
 * and that depends on whether the file system below can make holes: the only trace of the place where it ran.
 *
 * @param image path of an image that mke2fs has just made
 */
export async function settleSuperblocks(image: string): Promise<void> {
  const file = await open(image, 'r+');
  try {
    const first = await readSuperblock(file, SIZE);
    if (first === undefined) return;
    const blockSize = SIZE << first.readUInt32LE(AT.logBlockSize);
    const perGroup = first.readUInt32LE(AT.blocksPerGroup);
    const start = first.readUInt32LE(AT.firstDataBlock);
    const groups = Math.ceil((first.readUInt32LE(AT.blocksCount) - start) / perGroup);
    for (let group = 0; group < groups; group++) {
      if (!hasSuperblock(group)) continue;
      const offset = group === 0 ? SIZE : (start + group * perGroup) * blockSize;
      const copy = await readSuperblock(file, offset);
      if (copy === undefined) continue;
      copy.writeBigUInt64LE(0n, AT.kilobytesWritten);
      if ((copy.readUInt32LE(AT.featureReadOnlyCompatible) & METADATA_CSUM) !== 0)
        copy.writeUInt32LE(crc32c(copy.subarray(0, AT.checksum)), AT.checksum);
      await file.write(copy, 0, SIZE, offset);
    }
  } finally {
    await file.close();
  }
}

async function readSuperblock(file: FileHandle, offset: number): Promise<Buffer | undefined> {
  const block = Buffer.alloc(SIZE);
  const { bytesRead } = await file.read(block, 0, SIZE, offset);
  return bytesRead === SIZE && block.readUInt16LE(AT.magic) === MAGIC ? block : undefined;
}

/** With sparse_super copies are in groups 0, 1 and the powers of 3, 5 and 7. */
function hasSuperblock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** CRC-32C (Castagnoli), reflected, as the kernel keeps it: seed of all ones, no inversion at the end. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : 0x82f63b78);
  }
  return crc >>> 0;
}

/**
 * Bytes that are free in an image, by its superblock.
 *
 * @returns undefined when its last guest did not come to write that down, or it is no ext4 image
 */
export async function freeBytes(image: string): Promise<number | undefined> {
  const file = await open(image);
  try {
    const block = await readSuperblock(file, SIZE);
    const features = block?.readUInt32LE(AT.featureIncompatible) ?? RECOVER;
    if (block === undefined || (features & RECOVER) !== 0) return undefined;
    const high = (features & IS_64BIT) === 0 ? 0 : block.readUInt32LE(AT.freeBlocksCountHigh);
    const blocks = high * 2 ** 32 + block.readUInt32LE(AT.freeBlocksCount);
    return blocks * (SIZE << block.readUInt32LE(AT.logBlockSize));
  } finally {
    await file.close();
  }
}
