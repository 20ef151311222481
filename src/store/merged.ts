/** Several streams as one: each item as soon as it is there. */
export async function* merged<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T, void, undefined> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const next = (at: number) => {
    const item = iterators[at]!.next().then((result) => ({ at, result }));
    // Where one source fails, nobody waits for the others any more.
    item.catch(() => {});
    return item;
  };
  const pending = new Map(iterators.map((_, at) => [at, next(at)]));
  try {
    while (pending.size > 0) {
      const { at, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(at);
        continue;
      }
      pending.set(at, next(at));
      yield result.value;
    }
  } finally {
    await Promise.all(iterators.map((iterator) => iterator.return?.()));
  }
}
