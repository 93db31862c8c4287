/** Something with its place in a list that several parts hold between them. */
export type Placed<T> = T & { readonly at: number }

/** What parts hold of a list, in its order; what has one place stays in the order of its part. */
export function merged<T extends object>(parts: readonly (readonly Placed<T>[])[]): T[] {
  const all = parts.flat().sort((a, b) => a.at - b.at)
  return all.map(({ at, ...one }) => one as unknown as T)
}
