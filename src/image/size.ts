import { ApppotError } from '../errors.ts';

const MEBIBYTE = 1024 * 1024;

/**
 * Reads the size of an image: `2G`, `1500M`, `1.5G`, `1T`; a bare number is megabytes, as in rootstrap.conf.
 *
 * @param text what the user wrote
 * @returns whole mebibytes
 * @throws ApppotError `usage`
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([MGT])(?:i?B)?)?$/i.exec(text.trim());
  const factors: Readonly<Record<string, number>> = { M: 1, G: 1024, T: 1024 * 1024 };
  const mebibytes = Math.ceil(
    Number(match?.[1]) * (factors[(match?.[2] ?? 'M').toUpperCase()] ?? Number.NaN),
  );
  if (match === null || !Number.isFinite(mebibytes))
    throw new ApppotError('usage', `"${text}" is not a size.`, {
      hint: 'Sizes look like 2G, 1500M or 1.5G; a bare number is megabytes.',
    });
  if (mebibytes < 64 || mebibytes > 16 * 1024 * 1024)
    throw new ApppotError('usage', `An image of ${text} is not possible.`, {
      hint: 'The size must be between 64M and 16T.',
    });
  return mebibytes;
}

/** A size for people: "1.5 GB" for 1536 mebibytes. */
export function formatSize(mebibytes: number): string {
  return mebibytes < 1024 ? `${mebibytes} MB` : `${Number((mebibytes / 1024).toFixed(2))} GB`;
}

/** Whole mebibytes of a number of bytes, rounded up. */
export function toMebibytes(bytes: number): number {
  return Math.ceil(bytes / MEBIBYTE);
}
