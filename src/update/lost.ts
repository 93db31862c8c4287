import { refuseNonFinite, refuseNonFiniteTensor } from '../checkpoint/read.ts'
import { badInput, LoraSvdError } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { nonFiniteEntries } from '../linalg/matrix/finite.ts'
import { blamed } from '../lora/model.ts'
import { quoted } from '../text/quote.ts'
import type { RoundingAccount } from './account.ts'
import { keptFactors } from './factors.ts'
import type { ChangeWork } from './panels.ts'

/** What to do about NaN: no merge without it would be whole. */
const CURE = 'mend it, or fetch it again'

/** Throws where an entry is no number any more, saying whose fault that is. */
export async function refuseLost(
  account: RoundingAccount,
  { change, range, dtype }: Omit<ChangeWork, 'kind'>,
  { run, base }: { readonly run: string; readonly base: string },
): Promise<void> {
  if (account.nonFinite > 0) {
    await refuseNonFiniteTensor(base, change.base, CURE)
    for (const { tensor, path } of [...change.dense, ...(change.replacement ? [change.replacement] : [])]) {
      await refuseNonFiniteTensor(path, tensor, CURE)
    }
    if (change.factors.length > 0) {
      const [{ path, module }] = change.factors
      const { B, A } = await keptFactors(run, change, range.matrix)
      refuseNonFinite(path, blamed(module, 'B').name, nonFiniteEntries(B), CURE)
      refuseNonFinite(path, blamed(module, 'A').name, nonFiniteEntries(A), CURE)
    }
    throw new LoraSvdError(
      'not-finite',
      `${base}: with its change the tensor ${quoted(change.name)} has entries that are no numbers: a magnitude or a scale of the adapter is wrong`,
      { file: base, tensor: change.name },
    )
  }
  if (account.overflowed > 0) throw overflow(base, change.name, dtype)
}

export const overflow = (base: string, name: string, dtype: FloatDtype) =>
  badInput(
    `${base}: entries of the tensor ${quoted(name)}, with all that is added to them, are past what ${dtype} can hold; write --dtype ${dtype === 'f16' ? 'bf16' : 'f32'}`,
    { file: base, tensor: name },
  )
