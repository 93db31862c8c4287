/** Makers of checkpoints whose spectra are known in closed form, or random, written with nothing of src/. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { safetensorsFile, tensor } from './files.ts'
import { temporaryFolder } from './run.ts'

export interface Tensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

export type Tensors = Readonly<Record<string, Tensor>>

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

export const f64 = (shape: readonly number[], values: ArrayLike<number>): Tensor => ({
  dtype: 'F64',
  shape,
  bytes: bytesOf(Float64Array.from(values)),
})

export const f32 = (shape: readonly number[], values: ArrayLike<number>): Tensor => ({
  dtype: 'F32',
  shape,
  bytes: bytesOf(Float32Array.from(values)),
})

/** The upper half of a float32, rounded to the nearest, ties to even. */
export function bf16(shape: readonly number[], values: ArrayLike<number>): Tensor {
  const words = new Uint32Array(Float32Array.from(values).buffer)
  const halves = Uint16Array.from(words, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16)
  return { dtype: 'BF16', shape, bytes: bytesOf(halves) }
}

/** What is stored by `bf16`, as numbers. */
export function rounded(values: ArrayLike<number>): Float32Array {
  const { bytes } = bf16([values.length], values)
  const halves = new Uint16Array(bytes.buffer)
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer)
}

/** IEEE-like numbers of 8 bits without infinities or subnormals among them; each value has to be one of the format. */
function f8(
  dtype: string,
  mantissaBits: number,
  bias: number,
  shape: readonly number[],
  values: ArrayLike<number>,
) {
  const bytes = Uint8Array.from(values, (x) => {
    if (x === 0) return 0
    const exponent = Math.floor(Math.log2(Math.abs(x)))
    const mantissa = (Math.abs(x) / 2 ** exponent - 1) * 2 ** mantissaBits
    if (!Number.isInteger(mantissa)) throw new Error(`${x} is no ${dtype}`)
    return (x < 0 ? 128 : 0) + ((exponent + bias) << mantissaBits) + mantissa
  })
  return { dtype, shape, bytes }
}
export const f8e4m3 = (shape: readonly number[], values: ArrayLike<number>): Tensor =>
  f8('F8_E4M3', 3, 7, shape, values)
export const f8e5m2 = (shape: readonly number[], values: ArrayLike<number>): Tensor =>
  f8('F8_E5M2', 2, 15, shape, values)

/** A safetensors file of these tensors, in this order. */
export function fileOf(tensors: Tensors, metadata?: Readonly<Record<string, string>>): Buffer {
  let end = 0
  const entries = Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => {
    const begin = end
    end += bytes.length
    return [name, tensor(dtype, shape, [begin, end])]
  })
  const header = { ...(metadata && { __metadata__: metadata }), ...Object.fromEntries(entries) }
  return safetensorsFile(header, Buffer.concat(Object.values(tensors).map(({ bytes }) => bytes)))
}

/** The text of an index that puts these tensors into these shards. */
export const indexOf = (weight_map: Readonly<Record<string, string>>) =>
  JSON.stringify({ metadata: {}, weight_map })

/** A new folder with these files in it, in folders of their own where their names say so; gone after the tests. */
export function folderOf(files: Readonly<Record<string, Uint8Array | string>>): string {
  const folder = temporaryFolder()
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  return folder
}

/** An entry of Sylvester's Hadamard matrix of any order: ±1, by the parity of the common bits. */
function hadamard(i: number, j: number): number {
  let bits = i & j
  let sign = 1
  for (; bits > 0; bits >>= 1) if (bits & 1) sign = -sign
  return sign
}

/**
 * A matrix with just these singular values: Hadamard matrices are orthogonal up to √order, so that rows and columns have to be
 * powers of 4 for every entry to be exact.
 */
export function withSpectrum(rows: number, columns: number, S: readonly number[]): number[] {
  const scale = Math.sqrt(rows * columns)
  return Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    return S.reduce((sum, s, r) => sum + (s * hadamard(i, r) * hadamard(r, j)) / scale, 0)
  })
}

/** Factors B [rows, rank] and A [rank, columns] whose product has these singular values, and zeros beyond them. */
export function factorsOf(rows: number, columns: number, S: readonly number[], rank = S.length) {
  const entries = (height: number, width: number, at: (i: number, j: number) => number) =>
    Array.from({ length: height * width }, (_, n) => at(Math.floor(n / width), n % width))
  return {
    B: entries(rows, rank, (i, r) => ((S[r] ?? 0) * hadamard(i, r)) / Math.sqrt(rows)),
    A: entries(rank, columns, (r, j) => hadamard(r, j) / Math.sqrt(columns)),
  }
}

/** So many numbers of mean 0 and variance 1 (sums of twelve of a linear congruential generator), the same in every run. */
export function noise(count: number, seed: number): Float64Array {
  let state = (seed * 2654435761) >>> 0
  const uniform = () => {
    // Knuth's MMIX constants don't fit 32 bits; these are Numerical Recipes'
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  return Float64Array.from({ length: count }, () => {
    let sum = -6
    for (let i = 0; i < 12; i++) sum += uniform()
    return sum
  })
}

/** W + scale·B·A with random B and A of this rank. */
export function plusLowRank(
  W: ArrayLike<number>,
  [rows, columns]: readonly [number, number],
  rank: number,
  scale: number,
  seed: number,
): Float64Array {
  const [B, A] = [noise(rows * rank, seed), noise(rank * columns, seed + 1)]
  return Float64Array.from(W, (w, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    let sum = 0
    for (let r = 0; r < rank; r++) sum += B[i * rank + r] * A[r * columns + j]
    return w + scale * sum
  })
}
