/**
 * "Did you mean …?": the known word that differs least from one that is not known.
 *
 * @returns words for a hint, or nothing when none is near
 */
export function didYouMean(word: string, known: readonly string[]): string {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_ ]/g, '');
  const ranked = known
    .map((one) => ({ one, distance: distanceOf(plain(word), plain(one)) }))
    .sort((left, right) => left.distance - right.distance);
  const [best] = ranked;
  // As commander does for options: at most three letters, and less than half of the word.
  if (best === undefined || best.distance > 3 || best.distance > word.length * 0.4) return '';
  return `Did you mean ${best.one}? `;
}

/** Letters to insert, remove or exchange (Levenshtein); the same ones in another order are one slip. */
function distanceOf(one: string, other: string): number {
  const sorted = (text: string): string => text.split('').sort().join('');
  if (one !== other && sorted(one) === sorted(other)) return 1;
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let at = 0; at < one.length; at += 1) {
    const next = [at + 1];
    for (let to = 0; to < other.length; to += 1) {
      const exchanged = (row[to] ?? 0) + (one[at] === other[to] ? 0 : 1);
      next.push(Math.min((next[to] ?? 0) + 1, (row[to + 1] ?? 0) + 1, exchanged));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
