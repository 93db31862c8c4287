/** Between the two parts of a product, and between matrices side by side, in pixels. */
export const PRODUCT_GAP = 16
export const BESIDE_GAP = 32
/** What a thin matrix has at least, so that one of a single column can be seen. */
const LEAST = 16
/** What stands beside the flat one of the two: the scale of colours, and the name of the thin one below it. */
const CORNER = 76
const LARGEST_CELL = 40
/** The tallest picture of a matrix. */
const MOST_HEIGHT = 420

export interface Spans {
  /** Of the side of length r. */
  readonly thin: number
  readonly long: number
}

/**
 * Pixels of a d × r by r × k product in so much width, with `beside` more matrices of k columns in it: all cells of one size, but that
 * very thin or flat ones are drawn thicker.
 */
export function layoutOf(
  width: number,
  { d, k, r }: { readonly d: number; readonly k: number; readonly r: number },
  beside = 0,
): { across: Spans; down: Spans } {
  const long = k * (1 + beside)
  const cell = Math.min(LARGEST_CELL, Math.max(0, width - CORNER) / long, width / (long + r), MOST_HEIGHT / d)
  const span = (count: number) => Math.max(LEAST, Math.floor(cell * count))
  return { across: { thin: span(r), long: span(k) }, down: { thin: span(r), long: span(d) } }
}
