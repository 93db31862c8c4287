import type { Completeness, Family, Naming } from './types.ts'

/** A loader that refuses a file, and the modules that the file would need besides for it to be taken. */
export interface Incomplete {
  readonly rule: Completeness
  /** By their dotted paths in the naming's form. */
  readonly missing: readonly string[]
}

/** Which loaders refuse a file with these modules of the denoiser, and no others, because blocks lack some. */
export function incompleteBlocks(
  family: Family,
  naming: Naming,
  paths: Iterable<string>,
): readonly Incomplete[] {
  const given = new Set(paths)
  return family.completeness
    .filter((rule) => rule.naming === naming)
    .map((rule) => ({ rule, missing: missingOf(rule, given) }))
    .filter(({ missing }) => missing.length > 0)
}

function missingOf({ blocks, modules }: Completeness, given: ReadonlySet<string>): string[] {
  return blocks.flatMap((before) => {
    let count = 0
    for (const path of given) {
      if (!path.startsWith(before)) continue
      const rest = path.slice(before.length)
      const dot = rest.indexOf('.')
      if (modules.includes(rest.slice(dot + 1))) count = Math.max(count, Number(rest.slice(0, dot)) + 1)
    }
    return Array.from({ length: count }, (_, i) => modules.map((module) => `${before}${i}.${module}`))
      .flat()
      .filter((path) => !given.has(path))
  })
}
