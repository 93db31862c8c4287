/** Matrices on their way into and out of the shared memory. */
import { type FloatType, floatType, type Matrix } from '../../matrix/matrix.ts'
import type { HalfMatrix } from '../engine.ts'

/** Storage types as assembly/widen.ts numbers them. */
export const TypeCode = { f32: 0, f64: 1, bf16: 2, f16: 3 } as const
export type StorageType = keyof typeof TypeCode

const BYTES = { f32: 4, f64: 8, bf16: 2, f16: 2 } as const

export const bytesPerEntry = (type: StorageType): number => BYTES[type]

export function storageType(A: Matrix | HalfMatrix): StorageType {
  if ('dtype' in A) return A.dtype
  return floatType(A)
}

/** Copies entries [from, to) of A to `address`. */
export function copyIn(
  memory: WebAssembly.Memory,
  address: number,
  A: Matrix | HalfMatrix,
  from = 0,
  to = A.data.length,
): void {
  const View = A.data.constructor as Float64ArrayConstructor
  new View(memory.buffer, address, to - from).set(A.data.subarray(from, to) as Float64Array)
}

/** Copies `target.length` numbers from `address`. */
export function copyOut(
  memory: WebAssembly.Memory,
  address: number,
  target: Float32Array | Float64Array,
): void {
  const View = target.constructor as Float64ArrayConstructor
  target.set(new View(memory.buffer, address, target.length))
}

export function floats(type: FloatType, length: number): Float32Array | Float64Array {
  return type === 'f32' ? new Float32Array(length) : new Float64Array(length)
}
