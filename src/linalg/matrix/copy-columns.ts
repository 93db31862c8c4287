import type { FloatArray } from './matrix.ts'

/** Some columns of row-major numbers: the first of them, and how many numbers there are from one row to the next. */
export interface Columns {
  readonly data: FloatArray
  readonly stride: number
  readonly first: number
}

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT

/**
 * Copies `count` columns of `rows` rows between numbers of one float type. As 32-bit words, so that there is one loop for both
 * types, which is compiled once, and for words only.
 */
export function copyColumns(from: Columns, to: Columns, rows: number, count: number): void {
  const each = from.data.BYTES_PER_ELEMENT / WORD_BYTES
  const [source, target] = [wordsOf(from.data), wordsOf(to.data)]
  copyWords(source, from.stride * each, from.first * each, target, to.stride * each, to.first * each, {
    rows,
    width: count * each,
  })
}

const wordsOf = ({ buffer, byteOffset, byteLength }: FloatArray) =>
  new Int32Array(buffer, byteOffset, byteLength / WORD_BYTES)

/** By loops, as rows are too short for calls to pay; four at a time, which takes half as long. */
function copyWords(
  source: Int32Array,
  strideOfSource: number,
  firstOfSource: number,
  target: Int32Array,
  strideOfTarget: number,
  firstOfTarget: number,
  { rows, width }: { readonly rows: number; readonly width: number },
): void {
  const whole = width - (width % 4)
  for (let i = 0; i < rows; i++) {
    let at = i * strideOfSource + firstOfSource
    let to = i * strideOfTarget + firstOfTarget
    const end = at + whole
    for (; at < end; at += 4, to += 4) {
      target[to] = source[at]
      target[to + 1] = source[at + 1]
      target[to + 2] = source[at + 2]
      target[to + 3] = source[at + 3]
    }
    for (const last = end + (width - whole); at < last; at++, to++) target[to] = source[at]
  }
}
