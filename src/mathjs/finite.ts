import { firstNonFinite } from '../matrix/arithmetic.ts'
import type { Matrix } from '../matrix/matrix.ts'

/** Throws TypeError, as mathjs functions do, naming the first entry that is NaN or infinite. */
export function requireFiniteEntries(name: string, A: Matrix): void {
  const bad = firstNonFinite(A.data)
  if (bad < 0) return
  const entry = `[${Math.floor(bad / A.columns)}, ${bad % A.columns}]`
  throw new TypeError(`${name} needs finite numbers, but the entry at ${entry} is ${A.data[bad]}`)
}
