import { createHash } from 'node:crypto'
import { encodeFloats, encodeHalfBits, type FloatDtype, isHalf } from '../../formats/dtype.ts'
import { narrowHalf, widened } from '../../linalg/matrix/half.ts'
import {
  type FloatArray,
  type HalfMatrix,
  type Matrix,
  toFloat32,
  toFloat64,
} from '../../linalg/matrix/matrix.ts'
import type { Factors } from '../../linalg/svd/svd.ts'
import type { TargetModule } from '../model.ts'
import { assertHeld, stackedFactors } from './encode.ts'

/** Factors that are rounded to the dtype they are stored in, in as few bytes as that takes. */
export interface PackedFactors {
  readonly B: Matrix | HalfMatrix
  readonly A: Matrix | HalfMatrix
}

/**
 * Factors rounded once, of what messages call `name`. Nothing is clamped: throws `bad-input` where an entry is too large for the dtype, or
 * all are too small.
 */
export function packedFactors(name: string, { B, A }: Factors, dtype: FloatDtype): PackedFactors {
  const otherwise = 'nothing that adapters are stored in holds it'
  assertHeld(name, 'A', A.data, dtype, otherwise)
  assertHeld(name, 'B', B.data, dtype, otherwise)
  return { B: packed(B, dtype), A: packed(A, dtype) }
}

function packed(X: Matrix, dtype: FloatDtype): Matrix | HalfMatrix {
  if (isHalf(dtype)) return { rows: X.rows, columns: X.columns, dtype, data: narrowHalf(X.data, dtype) }
  return dtype === 'f32' ? toFloat32(X) : toFloat64(X)
}

/**
 * What tells these numbers, and the dtype that they are stored in, from all others: of 16-bit ones the bits, which is half the work of
 * what they are widened to.
 */
export function packedDigest({ B, A }: PackedFactors, dtype: FloatDtype): string {
  const hash = createHash('sha256').update(`${dtype} ${B.rows} ${B.columns} ${A.columns} `)
  for (const { data } of [B, A]) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return hash.digest('base64')
}

/** Whether factors that were read from tensors of this dtype are those of this digest, padded with zeros beyond their rank. */
export function arePacked(read: PackedFactors, rank: number, dtype: FloatDtype, digest: string): boolean {
  const [B, A] = [repacked(read.B, dtype), repacked(read.A, dtype)]
  if (B.columns < rank || A.rows !== B.columns) return false
  if (B.columns === rank) return packedDigest({ B, A }, dtype) === digest
  for (let at = rank * A.columns; at < A.data.length; at++) if (A.data[at] !== 0) return false
  const leading = dataLike(B.data, B.rows * rank)
  for (let i = 0; i < B.rows; i++) {
    const row = B.data.subarray(i * B.columns, (i + 1) * B.columns)
    for (let j = rank; j < row.length; j++) if (row[j] !== 0) return false
    leading.set(row.subarray(0, rank), i * rank)
  }
  const own = {
    B: { ...B, columns: rank, data: leading },
    A: { ...A, rows: rank, data: A.data.subarray(0, rank * A.columns) },
  }
  return packedDigest(own as PackedFactors, dtype) === digest
}

/** Numbers of the dtype that were widened, as their bits again. */
const repacked = (X: Matrix | HalfMatrix, dtype: FloatDtype) => ('dtype' in X ? X : packed(X, dtype))

const dataLike = <T extends Uint16Array | FloatArray>(data: T, length: number): T =>
  new (data.constructor as new (n: number) => T)(length)

/** The numbers of packed factors. */
export const unpackedFactors = ({ B, A }: PackedFactors): Factors => ({ B: widened(B), A: widened(A) })

/** The bytes of a module's two tensors, as `encodeFactors` lays them out: no number is rounded again. */
export function encodePacked(
  module: TargetModule,
  factors: readonly PackedFactors[],
  r: number,
  dtype: FloatDtype,
): { readonly A: Uint8Array; readonly B: Uint8Array } {
  const make = (n: number) => (isHalf(dtype) ? new Uint16Array(n) : zerosOf(dtype, n))
  const { A, B } = stackedFactors<Uint16Array | FloatArray>(module, factors, r, make)
  return { A: bytesOf(A, dtype), B: bytesOf(B, dtype) }
}

const bytesOf = (data: Uint16Array | FloatArray, dtype: FloatDtype): Uint8Array =>
  data instanceof Uint16Array ? encodeHalfBits(data) : encodeFloats(data, dtype)

const zerosOf = (dtype: FloatDtype, length: number): FloatArray =>
  dtype === 'f64' ? new Float64Array(length) : new Float32Array(length)
