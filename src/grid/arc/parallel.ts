/**
 * Works on all items, a few at a time.
 *
 * @param width most at once
 * @returns results in the order of the items; the first error ends the work
 */
export async function inParallel<Item, Value>(
  items: readonly Item[],
  width: number,
  work: (item: Item, at: number) => Promise<Value>,
): Promise<Value[]> {
  const results = new Array<Value>(items.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as Item, at);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}
