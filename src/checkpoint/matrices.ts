import { badInput, type LoraSvdError } from '../errors.ts'
import type { StoredDtype } from '../formats/dtype.ts'
import {
  bitsPerElement,
  floatDtypeOf,
  isUnread,
  readableFloatOf,
  storedIntegerOf,
} from '../formats/safetensors-dtype.ts'
import { quoted } from '../text/quote.ts'
import { type NameFilter, nameFilter } from './filter.ts'
import type { Checkpoint, Skipped, StoredTensor, TensorSource, WeightMatrix } from './types.ts'

export interface Matrices {
  /** In the order of the tensors. */
  readonly matrices: readonly WeightMatrix[]
  /** What the filter lets through and is no matrix that can be read. */
  readonly skipped: readonly Skipped[]
  readonly warnings: readonly string[]
}

/**
 * The matrices of a checkpoint: 2-D tensors of floats, kernels of convolutions and stacks of experts, which those of `stacks` are whatever
 * their shape looks like. Throws `bad-input` for a pattern of `include` that matches nothing, and for F8 weights that mean nothing
 * without the scales beside them.
 */
export function matricesOf(
  { path, tensors }: Pick<Checkpoint, 'path' | 'tensors'>,
  filter: NameFilter = {},
  stacks: ReadonlySet<string> = new Set(),
): Matrices {
  const { isWanted, warnings } = nameFilter(filter, [...tensors.keys()], path)
  const scaleOf = scalesOf(tensors)
  const matrices: WeightMatrix[] = []
  const skipped: Skipped[] = []
  for (const tensor of tensors.values()) {
    const { name } = tensor
    if (!isWanted(name)) continue
    refuseEmpty(path, tensor)
    const weight = scaleOf.get(name)
    const read: Readable =
      weight === undefined ? readable(tensors, tensor) : { reason: `the scales of ${quoted(weight)}` }
    const view = stacks.has(name) ? stackView(tensor.shape) : viewOf(name, tensor.shape)
    if ('dtype' in read) matrices.push(...matricesOfView(tensor, view, read.dtype))
    else if (read.scales !== undefined) throw scaledError(path, name, read.reason)
    else skipped.push({ name, reason: read.reason })
  }
  return { matrices, skipped, warnings }
}

type Tensors = ReadonlyMap<string, StoredTensor>

/** The dtype in which the matrices of a tensor are read, or why it has none. */
export type Readable =
  | { readonly dtype: StoredDtype }
  /** `scales` names the tensor without which F8 numbers mean nothing. */
  | { readonly reason: string; readonly scales?: string }

/** Whether, and as what, the matrices of a tensor can be read. `as` is the name by which its shape is judged. */
export function readable(tensors: Tensors, tensor: StoredTensor, as = tensor.name): Readable {
  const float = readableFloatOf(tensor.dtype)
  const dtype = float ?? (isArray(tensor) ? storedIntegerOf(tensor.dtype) : undefined)
  if (dtype === undefined) return { reason: unreadable(tensors, tensor) }
  const view = viewOf(as, tensor.shape)
  if (view.kind === 'none') return { reason: view.reason }
  const [scales] = isWide(tensor) ? [] : scaleTensorsOf(tensor.name, tensors)
  if (scales === undefined) return { dtype }
  const reason = `stored as ${tensor.dtype}, which means nothing without its scales in ${quoted(scales)}`
  return { reason, scales }
}

/** The refusal of an F8 matrix with scales beside it, where leaving out other tensors lets a command go on. */
export const scaledError = (path: string, tensor: string, reason: string): LoraSvdError =>
  badInput(
    `${path}: tensor ${quoted(tensor)} is ${reason}; dequantise the checkpoint first, or leave the tensor out with --exclude ${quoted(tensor)}`,
    { file: path, tensor },
  )

/** What a parameter of a layer is called, that has entries in every model. */
const PARAMETER = /(^|\.)(weight|bias)$/

/**
 * Throws `bad-input` for a weight without entries: DeepSpeed's ZeRO-3 leaves [0] in place of each parameter that lies on
 * other devices, where it is saved without being gathered.
 */
export function refuseEmpty(path: string, { name, shape }: StoredTensor): void {
  if (!PARAMETER.test(name) || shape.length !== 1 || shape[0] !== 0) return
  throw badInput(
    `${path}: tensor ${quoted(name)} is empty, of shape [0], as DeepSpeed ZeRO-3 saves weights that it has not gathered: this is no whole model; save it with stage3_gather_16bit_weights_on_model_save, or convert it with zero_to_fp32.py`,
    { file: path, tensor: name },
  )
}

/** For the name of each tensor that holds the scales of a weight in few bits, the name of that weight. */
export function scalesOf(tensors: Tensors): ReadonlyMap<string, string> {
  const scaleOf = new Map<string, string>()
  for (const tensor of tensors.values()) {
    if (isWide(tensor) || isArray(tensor)) continue
    for (const scales of scaleTensorsOf(tensor.name, tensors)) scaleOf.set(scales, tensor.name)
  }
  return scaleOf
}

/** Whether its numbers stand for themselves: no one quantises to 16 bits. */
const isWide = ({ dtype }: StoredTensor) => floatDtypeOf(dtype) !== undefined

/** Whether it is an array of .npy or .npz: its integers are as good numbers as floats. */
const isArray = ({ source }: StoredTensor) => source.kind === 'file' || source.kind === 'memory'

function unreadable(tensors: Tensors, { name, dtype }: StoredTensor): string {
  const [scales] = scaleTensorsOf(name, tensors)
  if (scales !== undefined) {
    return `quantised: stored as ${dtype}, with ${quoted(scales)} beside it; dequantise it first`
  }
  if (isUnread(dtype)) {
    return `quantised: stored as ${dtype}, which is not read; Q8_0, Q4_0, Q4_K and Q6_K are: quantise the model to one of those`
  }
  if (/^F[468]/.test(dtype)) return `stored as ${dtype}, which is not read; convert it to F16 or BF16`
  return `stored as ${dtype}, which is no float type`
}

/**
 * What quantisers append to the name of a weight for the numbers without which it can't be read: block scales of
 * DeepSeek (`_scale_inv`), compressed-tensors and mxfp8 (`_scale`), nvfp4 (`_scale_2`), gpt-oss (`_scales`, beside
 * `_blocks`), and bitsandbytes (`.absmax`, `.quant_map`, `.quant_state…`).
 */
const APPENDED = [
  '_scale_inv',
  '_scale',
  '_scale_2',
  '_scales',
  '_global_scale',
  '_zero_point',
  '_shape',
  '.scale_inv',
  '.scale',
  '.scales',
  '.absmax',
  '.quant_map',
  '.nested_absmax',
  '.nested_quant_map',
  '.quant_state.bitsandbytes__nf4',
  '.quant_state.bitsandbytes__fp4',
]

/** What stands beside `a.weight`, `a.qweight`, `a.weight_packed` under the module's name: ComfyUI, bitsandbytes int8, GPTQ and AWQ. */
const OF_THE_MODULE = [
  '.scale_weight',
  '.weight_scale',
  '.weight_scale_inv',
  '.weight_scale_2',
  '.weight_global_scale',
  '.weight_zero_point',
  '.weight_shape',
  '.scale',
  '.scales',
  '.scale_inv',
  '.SCB',
  '.weight_format',
  '.qzeros',
  '.g_idx',
]

/** The part of a weight's name that says what it is in its module. */
const WEIGHT_OF_MODULE = /\.(weight|qweight|weight_packed)$/

/**
 * The names of the tensors that hold the scales (and zero points, maps, shapes) of a weight stored in few bits; none where it
 * stands for itself. Scales of a layer's input, which `input_scale` and `scale_input` hold, don't change the weight.
 */
function scaleTensorsOf(name: string, tensors: ReadonlyMap<string, StoredTensor>): string[] {
  const module = WEIGHT_OF_MODULE.test(name) ? name.replace(WEIGHT_OF_MODULE, '') : undefined
  const candidates = new Set([
    ...APPENDED.map((end) => `${name}${end}`),
    ...(name.endsWith('_blocks') ? [name.replace(/_blocks$/, '_scales')] : []),
    ...(module === undefined ? [] : OF_THE_MODULE.map((end) => `${module}${end}`)),
  ])
  return [...candidates].filter((candidate) => tensors.has(candidate))
}

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
  return stackView(shape)
}

const stackView = ([count, rows, columns]: readonly number[]): View => ({
  kind: 'expert',
  count,
  rows,
  columns,
})

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

/**
 * The bytes [begin, end) of a tensor, whole rows where they are in an order of their own. Arrays of files and matrices in memory have two
 * dimensions, and so one part.
 */
export function partOf(source: TensorSource, begin: number, end: number): TensorSource {
  switch (source.kind) {
    case 'range':
      return { ...source, begin: source.begin + begin, end: source.begin + end }
    case 'bytes':
      return { kind: 'bytes', bytes: source.bytes.slice(begin, end) }
    case 'rows': {
      const { order, rowBytes } = source
      return { ...source, order: order.slice(begin / rowBytes, end / rowBytes) }
    }
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
