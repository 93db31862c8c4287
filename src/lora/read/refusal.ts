import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { quoted } from '../../text/quote.ts'

/** The refusal of tensors of an adapter, which it names; `rule` is what `check` calls the defect. */
export function refusal(
  path: string,
  tensors: readonly StoredTensor[],
  problem: string,
  rule?: string,
): LoraSvdError {
  const names = tensors.map(({ name }) => quoted(name)).join(' and ')
  return badInput(`${path}: ${tensors.length === 1 ? 'tensor' : 'tensors'} ${names} ${problem}`, {
    file: path,
    tensor: tensors[0].name,
    ...(rule !== undefined && { rule }),
  })
}

/** Throws `bad-input` for a factor whose dtype is no float's. */
export function assertFloat(path: string, tensor: StoredTensor): void {
  if (readableFloatOf(tensor.dtype) !== undefined) return
  throw refusal(path, [tensor], `is stored as ${tensor.dtype}; a factor is made of floats`, 'factor-dtype')
}
