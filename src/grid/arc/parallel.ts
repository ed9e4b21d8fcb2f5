/**
 * Works on items, some at once; results in the order of the items. The first error ends it, after what is under way.
 *
 * @param atOnce most at the same time
 */
export async function inParallel<Item, Value>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item, position: number) => Promise<Value>,
): Promise<Value[]> {
  const values = new Array<Value>(items.length);
  const failed: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && failed.length === 0) {
      const position = next;
      next += 1;
      try {
        values[position] = await work(items[position] as Item, position);
      } catch (error) {
        failed.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  if (failed.length > 0) throw failed[0];
  return values;
}
