import { gridWidth } from './grid.ts'

/** A name is shortened to this before a column is left out for it, and on the narrowest terminals to the second. */
export const GOOD_NAME_WIDTH = 24
const LEAST_NAME_WIDTH = 12
/** From this worth on a column stays and the name is shortened instead. */
const KEPT_BEFORE_NAMES = 12

/** The columns, that of names first, less those of the least worth until they fit. Those of infinite worth stay. */
export function fittingColumns<Column extends { readonly worth: number }>(
  columns: readonly Column[],
  widths: ReadonlyMap<Column, number>,
  room: number,
): readonly Column[] {
  const shrinkable = Math.max(0, widths.get(columns[0])! - LEAST_NAME_WIDTH)
  let shown = columns
  const isTooWide = (spare: number) => gridWidth(shown.map((column) => widths.get(column)!)) - spare > room
  while (isTooWide(0)) {
    const least = shown.reduce((a, b) => (b.worth < a.worth ? b : a))
    // The last columns that speak of rank are worth a shorter name.
    if (least.worth >= KEPT_BEFORE_NAMES && !isTooWide(shrinkable)) break
    if (least.worth === Number.POSITIVE_INFINITY) break
    shown = shown.filter((column) => column !== least)
  }
  return shown
}
