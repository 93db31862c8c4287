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
  const [source, target] = [wordsOf(from), wordsOf(to)]
  copyWords(
    source.words,
    source.stride,
    source.first,
    target.words,
    target.stride,
    target.first,
    rows,
    count * source.each,
  )
}

function wordsOf({ data, stride, first }: Columns) {
  const { buffer, byteOffset, byteLength, BYTES_PER_ELEMENT } = data
  const each = BYTES_PER_ELEMENT / WORD_BYTES
  const words = new Int32Array(buffer, byteOffset, byteLength / WORD_BYTES)
  return { words, each, stride: stride * each, first: first * each }
}

/** By loops, as rows are too short for calls to pay; four at a time, which takes half as long. */
function copyWords(
  source: Int32Array,
  strideOfSource: number,
  firstOfSource: number,
  target: Int32Array,
  strideOfTarget: number,
  firstOfTarget: number,
  rows: number,
  width: number,
): void {
  const whole = width - (width % 4)
  for (let i = 0; i < rows; i++) {
    const at = i * strideOfSource + firstOfSource
    const to = i * strideOfTarget + firstOfTarget
    let j = 0
    for (; j < whole; j += 4) {
      target[to + j] = source[at + j]
      target[to + j + 1] = source[at + j + 1]
      target[to + j + 2] = source[at + j + 2]
      target[to + j + 3] = source[at + j + 3]
    }
    for (; j < width; j++) target[to + j] = source[at + j]
  }
}
