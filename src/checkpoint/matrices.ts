import { quoted } from '../formats/quote.ts'
import { type NameFilter, nameFilter } from './filter.ts'
import { type Readable, readable, refuseEmpty, scaledError, scalesOf } from './readable.ts'
import type { Checkpoint, Skipped, WeightMatrix } from './types.ts'
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
  { path, tensors }: Pick<Checkpoint, 'path' | 'tensors'>,
  filter: NameFilter = {},
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
    if ('dtype' in read) matrices.push(...matricesOfView(tensor, viewOf(name, tensor.shape), read.dtype))
    else if (read.scales !== undefined) throw scaledError(path, name, read.reason)
    else skipped.push({ name, reason: read.reason })
  }
  return { matrices, skipped, warnings }
}
