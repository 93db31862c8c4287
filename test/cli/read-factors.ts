import { unzipSync } from 'fflate'

/** A tensor as it lies in a file, read here from the formats' specifications and not with src/. */
export interface StoredArray {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly values: readonly number[]
}

const f16 = (bits: number) => {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023]
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}

const READERS: Record<string, { size: number; read: (view: DataView, at: number) => number }> = {
  F64: { size: 8, read: (view, at) => view.getFloat64(at, true) },
  F32: { size: 4, read: (view, at) => view.getFloat32(at, true) },
  F16: { size: 2, read: (view, at) => f16(view.getUint16(at, true)) },
  BF16: {
    size: 2,
    read: (view, at) => {
      const wide = new DataView(new ArrayBuffer(4))
      wide.setUint16(0, view.getUint16(at, true))
      return wide.getFloat32(0)
    },
  },
}

function numbers(bytes: Uint8Array, dtype: string): number[] {
  const { size, read } = READERS[dtype]
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Array.from({ length: bytes.length / size }, (_, i) => read(view, i * size))
}

/** The tensors of a safetensors file. */
export function readSafetensors(file: Uint8Array): Record<string, StoredArray> {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true))
  const { __metadata__, ...tensors } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)))
  return Object.fromEntries(
    Object.entries(tensors as Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>).map(
      ([name, { dtype, shape, data_offsets }]) => {
        const [begin, end] = data_offsets.map((offset) => 8 + length + offset)
        return [name, { dtype, shape, values: numbers(file.subarray(begin, end), dtype) }]
      },
    ),
  )
}

/** The arrays of an .npz. */
export function readNpz(file: Uint8Array): Record<string, StoredArray> {
  return Object.fromEntries(
    Object.entries(unzipSync(file)).map(([name, npy]) => {
      const length = new DataView(npy.buffer, npy.byteOffset).getUint16(8, true)
      const header = new TextDecoder('latin1').decode(npy.subarray(10, 10 + length))
      const [, bytes] = /'descr': '<f(\d)'/.exec(header)!
      const [, shape] = /'shape': \(([\d, ]*)\)/.exec(header)!
      const dtype = `F${8 * Number(bytes)}`
      const values = numbers(npy.subarray(10 + length), dtype)
      return [name.replace(/\.npy$/, ''), { dtype, shape: shape.split(', ').map(Number), values }]
    }),
  )
}

/** ‖W − B·A‖_F / ‖W‖_F, W by rows. */
export function errorOf(W: readonly number[], B: StoredArray, A: StoredArray): number {
  const [[d, r], [, k]] = [B.shape, A.shape]
  let [residual, total] = [0, 0]
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < k; j++) {
      let product = 0
      for (let p = 0; p < r; p++) product += B.values[i * r + p] * A.values[p * k + j]
      residual += (W[i * k + j] - product) ** 2
      total += W[i * k + j] ** 2
    }
  }
  return Math.sqrt(residual / total)
}
