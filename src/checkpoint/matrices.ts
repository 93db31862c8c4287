import { badInput } from '../errors.ts'
import type { StoredDtype } from '../formats/dtype.ts'
import { quoted } from '../formats/quote.ts'
import { readableFloatOf, storedIntegerOf } from '../formats/safetensors-dtype.ts'
import { companionsOf } from './companions.ts'
import { type NameFilter, nameFilter } from './filter.ts'
import type { Checkpoint, Skipped, StoredTensor, WeightMatrix } from './types.ts'
import { matricesOfView, viewOf } from './view.ts'

export interface Matrices {
  /** In the order of the tensors. */
  readonly matrices: readonly WeightMatrix[]
  /** What the filter lets through and is no matrix that can be read. */
  readonly skipped: readonly Skipped[]
  readonly warnings: readonly string[]
}

/**
 * The matrices of a checkpoint: 2-D tensors of floats, kernels of convolutions and stacks of experts. Throws `bad-input` for a
 * pattern of `include` that matches nothing, and for F8 weights that mean nothing without the scales beside them.
 */
export function matricesOf(
  checkpoint: Pick<Checkpoint, 'path' | 'tensors'>,
  filter: NameFilter = {},
): Matrices {
  const { path, tensors } = checkpoint
  const { isWanted, warnings } = nameFilter(filter, [...tensors.keys()], path)
  const scaleOf = scalesOf(tensors)
  const matrices: WeightMatrix[] = []
  const skipped: Skipped[] = []
  for (const tensor of tensors.values()) {
    const { name } = tensor
    if (!isWanted(name)) continue
    const weight = scaleOf.get(name)
    const read =
      weight === undefined ? readable(checkpoint, tensor) : { reason: `the scales of ${quoted(weight)}` }
    if ('reason' in read) skipped.push({ name, reason: read.reason })
    else matrices.push(...matricesOfView(tensor, viewOf(name, tensor.shape), read.dtype))
  }
  return { matrices, skipped, warnings }
}

/** For the name of each tensor that holds the scales of a weight in few bits, the name of that weight. */
export function scalesOf(tensors: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, string> {
  const scaleOf = new Map<string, string>()
  for (const { name, dtype } of tensors.values()) {
    if (['F64', 'F32', 'F16', 'BF16'].includes(dtype)) continue
    for (const companion of companionsOf(name, tensors)) scaleOf.set(companion, name)
  }
  return scaleOf
}

/**
 * The dtype in which a tensor's matrices are read, or why it has none. `as` is the name by which its shape is judged. Throws
 * `bad-input` for an F8 matrix that has scales beside it.
 */
export function readable(
  { path, tensors }: Pick<Checkpoint, 'path' | 'tensors'>,
  tensor: StoredTensor,
  as = tensor.name,
): { dtype: StoredDtype } | { reason: string } {
  const view = viewOf(as, tensor.shape)
  const float = readableFloatOf(tensor.dtype)
  if (float === undefined) {
    const integer = isArray(tensor) ? storedIntegerOf(tensor.dtype) : undefined
    if (integer === undefined) return { reason: unreadable(tensor, tensors) }
    return view.kind === 'none' ? { reason: view.reason } : { dtype: integer }
  }
  if (view.kind === 'none') return { reason: view.reason }
  if (float.startsWith('f8')) assertUnscaled(path, tensor, tensors)
  return { dtype: float }
}

/** Whether it is an array of .npy or .npz: its integers are as good numbers as floats. */
const isArray = ({ source }: StoredTensor) => source.kind === 'file' || source.kind === 'memory'

function unreadable(tensor: StoredTensor, tensors: ReadonlyMap<string, StoredTensor>): string {
  const { name, dtype } = tensor
  const companions = companionsOf(name, tensors)
  if (companions.length > 0) {
    return `quantised: stored as ${dtype}, with ${quoted(companions[0])} beside it; dequantise it first`
  }
  if (/^(F4|F6|F8)/.test(dtype)) return `stored as ${dtype}, which is not read; convert it to F16 or BF16`
  return `stored as ${dtype}, which is no float type`
}

function assertUnscaled(
  path: string,
  tensor: StoredTensor,
  tensors: ReadonlyMap<string, StoredTensor>,
): void {
  const { name, dtype } = tensor
  const [scale] = companionsOf(name, tensors)
  if (scale === undefined) return
  throw badInput(
    `${path}: tensor ${quoted(name)} is stored as ${dtype} and means nothing without its scales in ${quoted(scale)}; dequantise the checkpoint first, or leave the tensor out with --exclude ${quoted(name)}`,
    { file: path, tensor: name },
  )
}
