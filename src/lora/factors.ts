import { arrayOf, elementCount, isStoredInBytes, readBytes, withBytes } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { decodeHalfBits, decodeIntegers, decodeNumbers, isHalf } from '../formats/dtype.ts'
import { bitsPerElement, readableFloatOf } from '../formats/safetensors-dtype.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type HalfMatrix,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
} from '../linalg/matrix/matrix.ts'
import {
  hadamardFactors,
  kroneckerFactors,
  type ThinProduct,
  thinProduct,
} from '../linalg/matrix/structured-products.ts'
import { addTo } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'
import { fitted } from './fit.ts'
import type { AdapterModule, LowRank, StoredProduct } from './model.ts'

/** ΔW = scale·B·A in the base tensor's own two-dimensional view: a kernel's is [out, in·kh·kw]. */
export interface ModuleFactors {
  /** [rows, rank]. */
  readonly B: Matrix
  /** [rank, columns]. */
  readonly A: Matrix
  readonly scale: number
}

/** Reads all entries of a tensor. */
export type WholeReader = (tensor: StoredTensor) => Promise<FloatArray>

/**
 * Reads the factors of a module, and no more than that, whatever its layout: those of embeddings and of weights stored
 * [in, out] change places and are transposed; a Tucker core is folded into A; of a stack `expert` says which one, and
 * `readWhole` reads what all of its experts share, which may be kept from one to the next.
 * A module of unknown transpose is taken as its config says. Both factors are float32, or float64 where either is or a
 * core is folded. Of a module that is fitted to a weight B has the weight's rows, zeros where the module has none. Throws
 * `bad-input` on dtypes that are no floats, RangeError for an expert that isn't there.
 */
export async function readFactors(
  module: AdapterModule,
  expert?: number,
  readWhole: WholeReader = readFloats,
): Promise<ModuleFactors> {
  const { scale, isTransposed, fit, rows } = module
  const [up, A] = sameType(await storedFactors(module, expert, readWhole))
  const B = fitted(up, fit, rows)
  return isTransposed ? { B: transpose(A), A: transpose(B), scale } : { B, A, scale }
}

/** Factors as they are stored: the bits of 16-bit ones, which nothing widens. */
export interface StoredFactors {
  readonly B: Matrix | HalfMatrix
  readonly A: Matrix | HalfMatrix
}

/** The same without widening what is stored in 16 bits where the layout needs no arithmetic; `scale` is left to the caller. */
export async function readStoredFactors(
  module: AdapterModule,
  expert?: number,
  readWhole: WholeReader = readFloats,
): Promise<StoredFactors> {
  const { product, kind, isTransposed, rank, fit, rows } = module
  if (isPlainPair(product) && kind !== 'experts') {
    const { A, B } = product
    const dtype = halfOf(A)
    if (dtype !== undefined && dtype === halfOf(B)) {
      const bits = (bytes: Uint8Array, rows: number, columns: number): HalfMatrix => ({
        rows,
        columns,
        dtype,
        data: decodeHalfBits(bytes),
      })
      const [ofB, ofDown] = await bytesOfPair(B, A)
      const [up, down] = [bits(ofB, B.shape[0], rank), bits(ofDown, rank, elementCount(A) / rank)]
      const turned = (X: HalfMatrix): HalfMatrix => ({ ...transpose(X), dtype })
      return isTransposed
        ? { B: turned(down), A: turned(up) }
        : { B: { ...fitted(up, fit, rows), dtype }, A: down }
    }
  }
  return readFactors(module, expert, readWhole)
}

/** Whether factors are stored as B and A, each in bytes, and nothing else. */
const isPlainPair = (product: StoredProduct): product is Extract<StoredProduct, { kind: 'lora' }> =>
  product.kind === 'lora' &&
  product.mid === undefined &&
  product.isTurned === undefined &&
  product.every === undefined &&
  isStoredInBytes(product.A) &&
  isStoredInBytes(product.B)

/** The bytes of two tensors, of which one file is opened once. */
async function bytesOfPair(B: StoredTensor, A: StoredTensor): Promise<[B: Uint8Array, A: Uint8Array]> {
  assertBytes(B)
  assertBytes(A)
  const [ofB, ofA] = [B.source, A.source]
  if (ofB.kind !== 'range' || ofA.kind !== 'range' || ofB.file !== ofA.file) {
    return [await readBytes(B), await readBytes(A)]
  }
  const last = ofB.end > ofA.end ? B : A
  const whole = { ...ofB, begin: 0, end: Math.max(ofB.end, ofA.end) }
  return withBytes(whole, last.name, async (read) => [
    await read(ofB.begin, ofB.begin + B.bytes),
    await read(ofA.begin, ofA.begin + A.bytes),
  ])
}

function halfOf({ dtype }: StoredTensor): HalfMatrix['dtype'] | undefined {
  const float = readableFloatOf(dtype)
  return float !== undefined && isHalf(float) ? float : undefined
}

async function storedFactors(
  module: AdapterModule,
  expert: number | undefined,
  readWhole: WholeReader,
): Promise<[B: Matrix, A: Matrix]> {
  const { product, rank, kind, experts } = module
  if (product.kind === 'loha') return hadamardFactors(await readSide(product.w1), await readSide(product.w2))
  if (product.kind === 'lokr') return kroneckerFactors(await readSide(product.w1), await readSide(product.w2))
  if (kind === 'experts' && !(expert !== undefined && expert >= 0 && expert < experts)) {
    throw new RangeError(`${module.label} has the experts 0 to ${experts - 1}, not ${expert}`)
  }
  if (product.kind === 'stack') return sumOf(module, product.parts[expert!], readWhole)
  const { A, B, mid, every } = product
  const entries = async (side: 'A' | 'B') =>
    every?.side === side
      ? everyNth(await readWhole(product[side]), every.of, every.first)
      : readFloats(product[side])
  if (product.isTurned) {
    const [left, right] = [await entries('B'), await entries('A')]
    return [transpose(matrix(rank, B.shape[1], left)), transpose(matrix(A.shape[0], rank, right))]
  }
  const out = B.shape[0]
  if (kind === 'experts' && expert !== undefined) {
    const columns = A.shape[1]
    const rows = await readFloats(A, expert * rank * columns, (expert + 1) * rank * columns)
    const ofExpert = everyNth(await readWhole(B), experts, expert)
    return [matrix(out, rank, ofExpert), matrix(rank, columns, rows)]
  }
  const up = matrix(out, rank, await entries('B'))
  const down = matrix(rank, elementCount(A) / rank, await entries('A'))
  return [up, mid === undefined ? down : foldCore(mid, await readFloats(mid), down)]
}

/** The factors of several modules of one weight beside each other, with their scales in B, and zeros up to the rank. */
async function sumOf(
  { rank, productShape: [rows, columns] }: AdapterModule,
  parts: readonly AdapterModule[],
  readWhole: WholeReader,
): Promise<[B: Matrix, A: Matrix]> {
  const [B, A] = [new Float64Array(rows * rank), new Float64Array(rank * columns)]
  let first = 0
  for (const part of parts) {
    const own = await readFactors(part, undefined, readWhole)
    for (let i = 0; i < rows; i++) {
      for (let k = 0; k < own.B.columns; k++)
        B[i * rank + first + k] = own.scale * own.B.data[i * own.B.columns + k]
    }
    A.set(own.A.data, first * columns)
    first += own.A.rows
  }
  return [matrix(rows, rank, B), matrix(rank, columns, A)]
}

/** A part of a LoHa or LoKr as L·R in float64; of a whole matrix one of the two is the identity. */
async function readSide(side: StoredTensor | LowRank): Promise<ThinProduct> {
  if (!('a' in side)) {
    const [out] = side.shape
    return thinProduct(toFloat64(matrix(out, elementCount(side) / out, await readFloats(side))))
  }
  const { a, b, core } = side
  const left = toFloat64(matrix(a.shape[0], a.shape[1], await readFloats(a)))
  const right = toFloat64(matrix(b.shape[0], elementCount(b) / b.shape[0], await readFloats(b)))
  if (core === undefined) return { L: left, R: right }
  return { L: transpose(left), R: foldCore(core, await readFloats(core), right) }
}

/** PEFT stores the columns of an expert's B `count` apart: column (k, e) of [out, rank, count]. */
function everyNth(all: FloatArray, count: number, first: number): FloatArray {
  const out = new (all.constructor as new (n: number) => FloatArray)(all.length / count)
  for (let i = 0; i < out.length; i++) out[i] = all[i * count + first]
  return out
}

/**
 * A'[q, (c, y, x)] = Σ_p core[q, p, y, x]·A[p, c]: the kernel of LoCon's two convolutions after each other, in float64
 * (LyCORIS, functional/general.py, rebuild_tucker).
 */
function foldCore(mid: StoredTensor, core: FloatArray, A: Matrix): Float64Matrix {
  const [outer, inner] = mid.shape
  const kernel = mid.shape.slice(2).reduce((product, n) => product * n, 1)
  const channels = A.columns
  const folded = new Float64Array(outer * channels * kernel)
  for (let q = 0; q < outer; q++) {
    for (let p = 0; p < inner; p++) {
      const coreAt = (q * inner + p) * kernel
      for (let c = 0; c < channels; c++) {
        const a = A.data[p * channels + c]
        const at = (q * channels + c) * kernel
        for (let k = 0; k < kernel; k++) folded[at + k] += core[coreAt + k] * a
      }
    }
  }
  return { rows: outer, columns: channels * kernel, data: folded }
}

function sameType([B, A]: [Matrix, Matrix]): [Matrix, Matrix] {
  const isWide = B.data instanceof Float64Array || A.data instanceof Float64Array
  return isWide ? [toFloat64(B), toFloat64(A)] : [B, A]
}

/**
 * The float entries [start, end) of a tensor in row-major order, all of them by default: f64 as float64, others widened
 * exactly to float32. Reads only their bytes, but of an array that can only be read whole all of them. Throws `bad-input` on another dtype.
 */
export async function readFloats(
  tensor: StoredTensor,
  start = 0,
  end = elementCount(tensor),
): Promise<FloatArray> {
  const { source, dtype, name } = tensor
  const float = readableFloatOf(dtype)
  if (float === undefined) {
    throw badInput(
      `tensor ${quoted(name)} is stored as ${dtype}; a factor is made of floats`,
      placeOf(tensor),
    )
  }
  const whole = await arrayOf(tensor)
  if (whole !== undefined) return whole.slice(start, end)
  const size = bitsPerElement(dtype) / 8
  return withBytes(source, name, async (read) => decodeNumbers(await read(start * size, end * size), float))
}

/** The single number of each tensor, float or integer, as `.alpha` is stored; each file is opened once. */
export async function readScalars(tensors: readonly StoredTensor[]): Promise<Map<string, number>> {
  const values = new Map<string, number>()
  const byFile = new Map<string, { tensor: StoredTensor; begin: number; end: number }[]>()
  for (const tensor of tensors) {
    assertBytes(tensor)
    const { source, name } = tensor
    if (source.kind === 'range') addTo(byFile, source.file, { tensor, begin: source.begin, end: source.end })
    else values.set(name, scalar(tensor, await readBytes(tensor)))
  }
  for (const [file, ranges] of byFile) {
    const last = ranges.reduce((a, b) => (b.end > a.end ? b : a))
    const whole = { kind: 'range', file, begin: 0, end: last.end } as const
    await withBytes(whole, last.tensor.name, async (read) => {
      for (const { tensor, begin, end } of ranges) {
        values.set(tensor.name, scalar(tensor, await read(begin, end)))
      }
    })
  }
  return values
}

const INTEGERS = { I64: 'int64', I32: 'int32', I16: 'int16', I8: 'int8', U8: 'uint8' } as const

function scalar(tensor: StoredTensor, bytes: Uint8Array): number {
  const { name, dtype } = tensor
  const float = readableFloatOf(dtype)
  if (float !== undefined) return decodeNumbers(bytes, float)[0]
  if (!(dtype in INTEGERS)) {
    throw badInput(`tensor ${quoted(name)} is stored as ${dtype}; alpha is a number`, placeOf(tensor))
  }
  const integer = INTEGERS[dtype as keyof typeof INTEGERS]
  return decodeIntegers(bytes, integer, { tensor: name }, () => quoted(name))[0]
}

function assertBytes(tensor: StoredTensor): void {
  if (isStoredInBytes(tensor)) return
  throw badInput(
    `tensor ${quoted(tensor.name)} of an adapter lies in no safetensors file; convert the adapter to one`,
    placeOf(tensor),
  )
}

const placeOf = ({ name, source }: StoredTensor) => ({
  tensor: name,
  ...('file' in source && { file: source.file }),
})
