import { badInput, type LoraSvdError } from '../errors.ts'
import type { StoredDtype } from '../formats/dtype.ts'
import { quoted } from '../formats/quote.ts'
import { floatDtypeOf, readableFloatOf, storedIntegerOf } from '../formats/safetensors-dtype.ts'
import { companionsOf } from './companions.ts'
import type { StoredTensor } from './types.ts'
import { viewOf } from './view.ts'

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
  const [scales] = isWide(tensor) ? [] : companionsOf(tensor.name, tensors)
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
    for (const companion of companionsOf(tensor.name, tensors)) scaleOf.set(companion, tensor.name)
  }
  return scaleOf
}

/** Whether its numbers stand for themselves: no one quantises to 16 bits. */
const isWide = ({ dtype }: StoredTensor) => floatDtypeOf(dtype) !== undefined

/** Whether it is an array of .npy or .npz: its integers are as good numbers as floats. */
const isArray = ({ source }: StoredTensor) => source.kind === 'file' || source.kind === 'memory'

function unreadable(tensors: Tensors, { name, dtype }: StoredTensor): string {
  const [companion] = companionsOf(name, tensors)
  if (companion !== undefined) {
    return `quantised: stored as ${dtype}, with ${quoted(companion)} beside it; dequantise it first`
  }
  if (/^F[468]/.test(dtype)) return `stored as ${dtype}, which is not read; convert it to F16 or BF16`
  return `stored as ${dtype}, which is no float type`
}
