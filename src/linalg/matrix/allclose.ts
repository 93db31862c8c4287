import { badUsage } from '../../errors.ts'
import type { FloatArray } from './matrix.ts'

export interface AllcloseOptions {
  /** Relative tolerance, >= 0; default 1e-5. */
  readonly rtol?: number
  /** Absolute tolerance, >= 0; default 1e-8. */
  readonly atol?: number
  /** Whether NaN counts as equal to NaN; default false. */
  readonly equalNan?: boolean
}

/** One compared entry: |actual − expected| and the most it may be. */
export interface AllcloseEntry {
  readonly index: number
  readonly difference: number
  readonly allowed: number
}

export interface AllcloseResult {
  readonly allclose: boolean
  /** How many entries are not close. */
  readonly failures: number
  /**
   * The entry with the largest difference − allowed, the first of equals; an entry that fails by a NaN or an infinity comes
   * before all others. Entries equal as NaN or infinity are left out; null when no other is there.
   */
  readonly worst: AllcloseEntry | null
}

/**
 * `torch.allclose(actual, expected)`: |actual − expected| <= atol + |rtol·expected| for every entry, so that only the
 * second array scales the bound. Equal infinities are close, all else with an infinity or NaN is not (but see
 * `equalNan`); empty arrays are close; two zero tolerances ask for equality. For float32 arrays both sides are formed in
 * float32, as PyTorch does (ATen/native/TensorCompare.cpp, `isclose`).
 *
 * Throws RangeError when the lengths differ, TypeError when the float types do, bad-usage on a tolerance not >= 0.
 */
export function allclose(
  actual: FloatArray,
  expected: FloatArray,
  { rtol = 1e-5, atol = 1e-8, equalNan = false }: AllcloseOptions = {},
): AllcloseResult {
  if (actual.length !== expected.length) {
    throw new RangeError(`allclose needs arrays of one length, got ${actual.length} and ${expected.length}`)
  }
  const isFloat32 = actual instanceof Float32Array
  if (isFloat32 !== expected instanceof Float32Array) {
    throw new TypeError(`allclose needs one float type, got ${floatName(actual)} and ${floatName(expected)}`)
  }
  checkTolerance('rtol', rtol)
  checkTolerance('atol', atol)

  const round = isFloat32 ? Math.fround : (x: number) => x
  const roundedRtol = round(rtol)
  const roundedAtol = round(atol)
  let failures = 0
  let worst: AllcloseEntry | null = null
  let worstRank = -Infinity
  for (let index = 0; index < actual.length; index++) {
    const a = actual[index]
    const b = expected[index]
    const isEqual = a === b || (equalNan && Number.isNaN(a) && Number.isNaN(b))
    if (isEqual && !Number.isFinite(a)) continue
    const difference = Math.abs(round(a - b))
    const allowed = round(roundedAtol + Math.abs(round(roundedRtol * b)))
    const isClose = isEqual || (Number.isFinite(difference) && difference <= allowed)
    if (!isClose) failures++
    const excess = difference - allowed
    const rank = Number.isNaN(excess) ? (isClose ? -Infinity : Infinity) : excess
    if (worst === null || rank > worstRank) {
      worst = { index, difference, allowed }
      worstRank = rank
    }
  }
  return { allclose: failures === 0, failures, worst }
}

function floatName(array: FloatArray): string {
  return array instanceof Float32Array ? 'float32' : 'float64'
}

function checkTolerance(name: string, value: number): void {
  if (!(value >= 0)) throw badUsage(`${name} must be a number >= 0, got ${value}`)
}
