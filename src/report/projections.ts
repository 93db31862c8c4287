/** Lists up to this long are shown in full. */
const LONG_LIST = 40
/** Of a longer list, the rows with the largest errors, and those with the smallest. */
const WORST_SHOWN = 10
const BEST_SHOWN = 3

/** What of a list of layers is shown row by row. */
export interface Excerpt<Row> {
  readonly worst: readonly Row[]
  /** The smallest errors; undefined where `worst` is all of the list, in its own order. */
  readonly best?: readonly Row[]
}

/** All rows of a list, or of a long one those with the largest and the smallest errors. */
export function excerpt<Row extends { readonly relativeError: number }>(rows: readonly Row[]): Excerpt<Row> {
  if (rows.length <= LONG_LIST) return { worst: rows }
  const falling = [...rows].sort((a, b) =>
    a.relativeError < b.relativeError ? 1 : a.relativeError > b.relativeError ? -1 : 0,
  )
  return { worst: falling.slice(0, WORST_SHOWN), best: falling.slice(-BEST_SHOWN) }
}

export const isLong = (rows: readonly unknown[]) => rows.length > LONG_LIST

/** Layers of one kind: their names but for the numbers. */
export interface Projection<Row> {
  /** With * for each number. */
  readonly name: string
  readonly rows: readonly Row[]
}

/** Layers by their names without the numbers, in the order in which they come: all q_proj, all k_proj, … */
export function byProjection<Row extends { readonly name: string }>(rows: readonly Row[]): Projection<Row>[] {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const name = row.name.replace(/(?<=^|[.[])\d+(?=$|[.\]])/g, '*')
    const known = groups.get(name)
    if (known === undefined) groups.set(name, [row])
    else known.push(row)
  }
  return [...groups].map(([name, rows]) => ({ name, rows }))
}

/** 16, or the least and the largest: 4–32. */
export function spanText(values: readonly number[], text: (value: number) => string): string {
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  return text(least) === text(most) ? text(most) : `${text(least)}–${text(most)}`
}
