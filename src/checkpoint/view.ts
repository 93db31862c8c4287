import type { StoredDtype } from '../formats/dtype.ts'
import { bitsPerElement } from '../formats/safetensors-dtype.ts'
import type { StoredTensor, TensorSource, WeightMatrix } from './types.ts'

/** A kernel of a 1-D convolution is short; the last dimension of a stack of matrices is a layer's width. */
const LONGEST_KERNEL = 16

/** How the shape of a tensor is seen as matrices; 'none' with the reason where it isn't. */
export type View =
  | { readonly kind: 'matrix' | 'conv'; readonly rows: number; readonly columns: number }
  | { readonly kind: 'expert'; readonly count: number; readonly rows: number; readonly columns: number }
  | { readonly kind: 'none'; readonly reason: string }

/**
 * Two dimensions are a matrix [out, in], one column or row included. With more, at most one of them above 1 is a vector.
 * Three are the kernel [out, in, k] of a 1-D convolution where the name has `conv` in it or k ≤ 16, a matrix where the first
 * is 1, and else a stack of experts [e, d, k]. Four and five are kernels of 2-D and 3-D convolutions. Kernels become
 * [out, in·k…].
 */
export function viewOf(name: string, shape: readonly number[]): View {
  if (shape.length < 2) return none(shape.length === 0 ? 'a single number' : 'a vector')
  if (shape.includes(0)) return none('no entries')
  if (shape.length === 2) return { kind: 'matrix', rows: shape[0], columns: shape[1] }
  if (shape.filter((n) => n > 1).length < 2) return none('a vector')
  if (shape.length > 5) return none(`${shape.length} dimensions, which no matrix can be made of`)
  const columns = shape.slice(1).reduce((product, n) => product * n, 1)
  const isKernel = shape.length > 3 || /conv/i.test(name) || shape[2] <= LONGEST_KERNEL
  if (isKernel) return { kind: 'conv', rows: shape[0], columns }
  if (shape[0] === 1) return { kind: 'matrix', rows: shape[1], columns: shape[2] }
  return { kind: 'expert', count: shape[0], rows: shape[1], columns: shape[2] }
}

const none = (reason: string): View => ({ kind: 'none', reason })

/** The matrices of a tensor that is seen so; none for a view of none. */
export function matricesOfView(tensor: StoredTensor, view: View, dtype: StoredDtype): WeightMatrix[] {
  if (view.kind === 'none') return []
  const { rows, columns } = view
  const whole = { tensor: tensor.name, rows, columns, dtype, storedShape: tensor.shape }
  if (view.kind !== 'expert') {
    return [{ ...whole, name: tensor.name, bytes: tensor.bytes, source: tensor.source, view: view.kind }]
  }
  const bytes = (rows * columns * bitsPerElement(tensor.dtype)) / 8
  return Array.from({ length: view.count }, (_, i) => ({
    ...whole,
    name: `${tensor.name}[${i}]`,
    bytes,
    source: partOf(tensor.source, i * bytes, (i + 1) * bytes),
    view: 'expert' as const,
  }))
}

/** The bytes [begin, end) of a tensor. Arrays of files and matrices in memory have two dimensions, and so one part. */
function partOf(source: TensorSource, begin: number, end: number): TensorSource {
  switch (source.kind) {
    case 'range':
      return { ...source, begin: source.begin + begin, end: source.begin + end }
    case 'bytes':
      return { kind: 'bytes', bytes: source.bytes.slice(begin, end) }
    default:
      return source
  }
}

/**
 * A shape without the ones that end it, as far as two dimensions are left: the kernel [o, i, 1, 1] of a convolution is the
 * matrix [o, i] of a linear layer.
 */
export function formOf(shape: readonly number[]): readonly number[] {
  let length = shape.length
  while (length > 2 && shape[length - 1] === 1) length--
  return shape.slice(0, length)
}

/** Whether two tensors hold the same matrices by their shapes. */
export function isSameForm(a: readonly number[], b: readonly number[]): boolean {
  const [x, y] = [formOf(a), formOf(b)]
  return x.length === y.length && x.every((n, i) => n === y[i])
}
