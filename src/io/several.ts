/** Starts a piece of work, once fewer than the most are going on. Throws what an earlier one threw. */
export type Start = (work: () => Promise<void>) => Promise<void>

/**
 * Runs `use`, whose pieces of work go on beside it and each other, up to `most` at once. All have ended when it does, however it
 * ends. Throws what `use` throws, or the first piece.
 */
export async function withSeveral<T>(most: number, use: (start: Start) => Promise<T>): Promise<T> {
  const going = new Set<Promise<void>>()
  let failure: { error: unknown } | undefined
  const throwFailure = () => {
    if (failure !== undefined) throw failure.error
  }
  const start: Start = async (work) => {
    while (going.size >= most) await Promise.race(going)
    throwFailure()
    const one = work()
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => going.delete(one))
    going.add(one)
  }
  try {
    const result = await use(start)
    await Promise.all(going)
    throwFailure()
    return result
  } finally {
    await Promise.all(going)
  }
}
