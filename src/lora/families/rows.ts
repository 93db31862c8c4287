import type { Denoiser, Form, Link, Rename, Rows, ShapeOf } from './types.ts'

/** A part of fused rows: as many as the matrix has columns, or an equal share of what the others leave. */
export interface Slice {
  readonly path: string
  readonly width: 'columns' | 'share'
}

/**
 * Whether diffusers has the halves of the rows the other way round: always, or where there are but two, as in a last block, whose
 * modulation is (shift, scale) where the authors', and (scale, shift) where diffusers' code reads it.
 */
type Halves = 'swapped' | 'swapped if two'

/**
 * A module, or a parameter by its full name, and its counterpart in diffusers: slices where diffusers has it in parts, an empty list
 * where it leaves it out. N stands for a block's number.
 */
export type Row = readonly [original: string, diffusers: string | readonly Slice[], halves?: Halves]

/** Queries, keys and values, one upon another. */
export const fused = (...paths: readonly string[]): readonly Slice[] =>
  paths.map((path) => ({ path, width: 'columns' }))

/** Parts that share what is left after those before them. */
export const sharing = (...paths: readonly string[]): readonly Slice[] =>
  paths.map((path) => ({ path, width: 'share' }))

/** Rows of a block, below its prefix in either form. */
export const within = (original: string, diffusers: string, rows: readonly Row[]): readonly Row[] =>
  rows.map(([from, to, halves]) => {
    const below =
      typeof to === 'string'
        ? diffusers + to
        : to.map(({ path, width }) => ({ path: diffusers + path, width }))
    return halves === undefined ? [original + from, below] : [original + from, below, halves]
  })

/** Names that are the same in both forms. */
export const same = (...paths: readonly string[]): readonly Row[] => paths.map((path) => [path, path])

/** The paths that rows name, in both forms. */
export const pathsOfRows = (rows: readonly Row[]): string[] =>
  rows.flatMap(([original, diffusers]) => [
    original,
    ...(typeof diffusers === 'string' ? [diffusers] : diffusers.map(({ path }) => path)),
  ])

interface Entry {
  readonly row: Row
  /** Which of the row's slices it is. */
  readonly slice?: number
}

interface Found extends Entry {
  readonly block: string
  /** `.weight` or `.bias` where the row names the module, '' where it names the parameter. */
  readonly end: string
}

type Index = ReadonlyMap<string, Entry>

/** How rows rename a denoiser's paths between its form and another. Paths of the same form stay. */
export function renameByRows(rows: readonly Row[]): (base: Denoiser, to: Form) => Rename {
  const byOriginal: Index = new Map(rows.map((row) => [row[0], { row }]))
  const byDiffusers: Index = new Map(
    rows.flatMap((row): [string, Entry][] =>
      typeof row[1] === 'string'
        ? [[row[1], { row }]]
        : row[1].map(({ path }, slice) => [path, { row, slice }]),
    ),
  )
  return (base, to) => {
    if (base.form === to) return (path) => [{ path }]
    return to === 'diffusers'
      ? (path) => split(find(byOriginal, path), base.shapeOf)
      : (path) => join(find(byDiffusers, path), base.shapeOf)
  }
}

function find(index: Index, path: string): Found | undefined {
  const end = /\.(?:weight|bias)$/.exec(path)?.[0] ?? ''
  const module = path.slice(0, path.length - end.length)
  return lookUp(index, path, '') ?? (end === '' ? undefined : lookUp(index, module, end))
}

/** A row by a path: as it is, or with one of its numbers as N. */
function lookUp(index: Index, path: string, end: string): Found | undefined {
  const plain = index.get(path)
  if (plain !== undefined) return { ...plain, block: '', end }
  const parts = path.split('.')
  for (const [i, part] of parts.entries()) {
    if (!/^\d+$/.test(part)) continue
    const entry = index.get(parts.with(i, 'N').join('.'))
    if (entry !== undefined) return { ...entry, block: part, end }
  }
  return undefined
}

const filled = (pattern: string, { block, end }: Found) => pattern.replace(/(?<=^|\.)N(?=\.|$)/, block) + end

/** The shape of the matrix that a found path belongs to, also where the path is of its bias. */
const matrixOf = (pattern: string, found: Found, shapeOf: ShapeOf) =>
  shapeOf(filled(pattern, { ...found, end: found.end === '' ? '' : '.weight' }))

function split(found: Found | undefined, shapeOf: ShapeOf): readonly Link[] | undefined {
  if (found === undefined) return undefined
  const [original, diffusers] = found.row
  if (typeof diffusers === 'string') {
    return [{ path: filled(diffusers, found), ...halvesOf(found, original, shapeOf) }]
  }
  const ranges = rangesOf(diffusers, matrixOf(original, found, shapeOf))
  return ranges && diffusers.map(({ path }, i) => ({ path: filled(path, found), rows: ranges[i] }))
}

/** Where each slice lies; undefined where the shape has no room for them. */
function rangesOf(slices: readonly Slice[], shape: readonly number[] | undefined): Rows[] | undefined {
  if (slices.length === 0) return []
  if (shape === undefined || shape.length < 2) return undefined
  const [rows, columns] = shape
  const shares = slices.filter(({ width }) => width === 'share').length
  const left = rows - (slices.length - shares) * columns
  if (shares === 0 ? left !== 0 : left <= 0 || left % shares !== 0) return undefined
  let from = 0
  return slices.map(({ width }): Rows => {
    const to = from + (width === 'columns' ? columns : left / shares)
    const range: Rows = [from, to]
    from = to
    return range
  })
}

function join(found: Found | undefined, shapeOf: ShapeOf): readonly Link[] | undefined {
  if (found === undefined) return undefined
  const [original, diffusers] = found.row
  const path = filled(original, found)
  if (typeof diffusers === 'string') return [{ path, ...halvesOf(found, diffusers, shapeOf) }]
  // the fused matrix is as tall as its parts together
  let from = 0
  for (const [i, slice] of diffusers.entries()) {
    const rows = matrixOf(slice.path, found, shapeOf)?.[0]
    if (rows === undefined) return undefined
    if (i === found.slice) return [{ path, rows: [from, from + rows] }]
    from += rows
  }
  return undefined
}

function halvesOf(found: Found, pattern: string, shapeOf: ShapeOf): { swapHalves?: true } {
  const halves = found.row[2]
  if (halves === undefined) return {}
  if (halves === 'swapped') return { swapHalves: true }
  const shape = matrixOf(pattern, found, shapeOf)
  return shape !== undefined && shape[0] === 2 * shape[1] ? { swapHalves: true } : {}
}
