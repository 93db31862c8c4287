import { type Matrix, matrix } from '../matrix/matrix.ts'
import { boxMuller, uniform53 } from '../random/box-muller.ts'
import { keyedWords } from '../random/keyed-words.ts'
import { type Arithmetic, inArithmetic } from './columns.ts'

/** Draws the next `columns` columns of a stream. */
export type Draw = (columns: number) => Matrix

const HALF_RANGE = 2 ** 31

/**
 * Uniform numbers in [−1, 1): a start block needs only directions that no matrix is aligned with. Streams of
 * different keys are independent of each other, and the same on every platform.
 */
export function uniformColumns(rows: number, arithmetic: Arithmetic, key: Uint8Array): Draw {
  const nextWord = keyedWords(key)
  return (columns) => {
    const data = new Float64Array(rows * columns)
    for (let i = 0; i < data.length; i++) data[i] = nextWord() / HALF_RANGE - 1
    return inArithmetic(matrix(rows, columns, data), arithmetic)
  }
}

/** Standard normal numbers, as the statements about probabilities need them. */
export function normalColumns(rows: number, arithmetic: Arithmetic, key: Uint8Array): Draw {
  const nextWord = keyedWords(key)
  const pair = new Float64Array(2)
  return (columns) => {
    const data = new Float64Array(rows * columns)
    for (let i = 0; i < data.length; i += 2) {
      boxMuller(uniform53(nextWord), uniform53(nextWord), pair)
      data.set(i + 1 < data.length ? pair : pair.subarray(0, 1), i)
    }
    return inArithmetic(matrix(rows, columns, data), arithmetic)
  }
}
