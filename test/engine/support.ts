import { type FloatArray, type Matrix, matrix } from '../../src/linalg/matrix/matrix.ts'

/** Numbers in [-1, 1) from a seed: mulberry32, a public-domain 32-bit generator. */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1
  }
}

export function randomMatrix(
  rows: number,
  columns: number,
  type: 'f32' | 'f64',
  random: () => number,
): Matrix {
  const data: FloatArray =
    type === 'f32' ? new Float32Array(rows * columns) : new Float64Array(rows * columns)
  for (let i = 0; i < data.length; i++) data[i] = random()
  return matrix(rows, columns, data)
}

/** |A|, entry by entry, in float64. */
export const absolute = (A: Matrix): Matrix<Float64Array> =>
  matrix(A.rows, A.columns, Float64Array.from(A.data, Math.abs))

/**
 * The largest |X − Y| as a multiple of `factor`·scale, entry by entry: 0 where both are equal, NaN where one
 * of them is, Infinity where the shapes differ.
 */
export function largestExcess(X: Matrix, Y: Matrix, scale: Matrix, factor: number): number {
  if (X.rows !== Y.rows || X.columns !== Y.columns || X.data.length !== Y.data.length) return Infinity
  let worst = 0
  for (let i = 0; i < X.data.length; i++) {
    const difference = Math.abs(X.data[i] - Y.data[i])
    if (Number.isNaN(difference)) return Number.NaN
    if (difference !== 0) worst = Math.max(worst, difference / (factor * scale.data[i]))
  }
  return worst
}

const bytesOf = ({ data }: Matrix) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** Whether X and Y have one shape and type and the same bits. */
export function sameBits(X: Matrix, Y: Matrix): boolean {
  const sameShape = X.rows === Y.rows && X.columns === Y.columns
  return sameShape && X.data.constructor === Y.data.constructor && bytesOf(X).equals(bytesOf(Y))
}
