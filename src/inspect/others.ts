import { forEachChunk } from '../checkpoint/numbers.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { firstNonFinite } from '../matrix/arithmetic.ts'
import type { NonFinite } from './result.ts'
import type { Other } from './subject.ts'

/** The NaN and infinite entries of what is no matrix: of norms and biases, for example. */
export async function nonFiniteOthers(others: readonly Other[]): Promise<NonFinite[]> {
  const found: NonFinite[] = []
  for (const { path, tensor } of others) {
    const entries = await nonFiniteEntriesOf(tensor)
    if (entries !== undefined) found.push({ name: tensor.name, file: path, ...entries })
  }
  return found
}

async function nonFiniteEntriesOf(
  tensor: StoredTensor,
): Promise<Omit<NonFinite, 'name' | 'file'> | undefined> {
  let count = 0
  let first: NonFinite['first'] | undefined
  const columns = Math.max(1, tensor.shape.at(-1) ?? 1)
  await forEachChunk(tensor, (numbers, start) => {
    const at = firstNonFinite(numbers)
    if (at < 0) return
    first ??= {
      row: Math.floor((start + at) / columns) + 1,
      column: ((start + at) % columns) + 1,
      value: String(numbers[at]),
    }
    for (let i = at; i < numbers.length; i++) if (numbers[i] - numbers[i] !== 0) count++
  })
  return first === undefined ? undefined : { count, first }
}
