import { LoraSvdError } from '../../errors.ts'
import { assertUnchanged } from '../../io/files.ts'
import type { ExtractionPlan } from './plan.ts'
import type { RunFolder } from './run-folder.ts'

/** Whether nothing can go on from here: no layer is done, or the numbers of the inputs themselves are refused. */
export async function isUseless(
  error: unknown,
  { base, tuned }: ExtractionPlan,
  folder: RunFolder,
): Promise<boolean> {
  if (error instanceof LoraSvdError && error.code === 'interrupted') return false
  if (await folder.isEmpty()) return true
  if (!isOfNumbers(error)) return false
  // of a file that is just being written they may be others the next time
  const areSame = Promise.all([base, tuned].map((input) => assertUnchanged(input)))
  return areSame.then(
    () => true,
    () => false,
  )
}

/** NaN in a tensor, or an entry that the dtype asked for can't hold: the same inputs and options end so each time. */
const isOfNumbers = (error: unknown): boolean =>
  error instanceof LoraSvdError &&
  (error.code === 'not-finite' || (error.code === 'bad-input' && error.tensor !== undefined))
