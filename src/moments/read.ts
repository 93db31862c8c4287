import { badInput, LoraSvdError } from '../errors.ts'
import type { Float64Matrix } from '../linalg/matrix/matrix.ts'
import { firstNonFinite } from '../linalg/matrix/norms.ts'
import { readFloats } from '../lora/factors.ts'
import { quoted } from '../text/quote.ts'
import type { LayerMoments } from './types.ts'

/** The moments of one layer in float64: C [k, k], symmetric, or its diagonal [k]. */
export type Moments =
  | { readonly kind: 'full'; readonly C: Float64Matrix }
  | { readonly kind: 'diagonal'; readonly values: Float64Array }

/**
 * How far an entry may be from its mirror image, relative to √(c_ii·c_jj), which bounds both: sums that are added in float32 in two
 * orders differ by less, whatever their number; another matrix than one of moments differs by more.
 */
const SYMMETRY_TOLERANCE = 1e-3
/** Mean squares beyond these would leave no room for squares of what they weigh. */
const SIZES = { least: 1e-30, most: 1e30 }

/**
 * Reads the moments of a layer, and makes them exactly symmetric. Throws `not-finite` on NaN and infinity, `bad-input` for what is no
 * second moment: a negative mean square, a matrix that isn't symmetric, nothing but zeros.
 */
export async function readMoments(moments: LayerMoments): Promise<Moments> {
  const { path, name, tensor, from, kind, inputs: k, divisor } = moments
  const place = { file: path, tensor: name }
  const stored = await readFloats(tensor, from, from + (kind === 'full' ? k * k : k))
  const at = firstNonFinite(stored)
  if (at >= 0) {
    throw new LoraSvdError(
      'not-finite',
      `${path}: ${quoted(name)} has ${stored[at]} ${whereOf(at, kind, k)}; make the moments again`,
      place,
    )
  }
  const values = new Float64Array(stored)
  if (divisor !== 1) for (let i = 0; i < values.length; i++) values[i] /= divisor
  const diagonal = kind === 'full' ? Float64Array.from({ length: k }, (_, i) => values[i * k + i]) : values
  const negative = diagonal.findIndex((x) => x < 0)
  if (negative >= 0) {
    throw badInput(
      `${path}: ${quoted(name)} has the mean square ${diagonal[negative]} of input ${negative + 1}: it is no second moment; make the moments again`,
      place,
    )
  }
  const mean = diagonal.reduce((sum, x) => sum + x, 0) / k
  if (!(mean >= SIZES.least && mean <= SIZES.most)) {
    const what = mean === 0 ? 'is all zeros' : `has mean squares of ${mean.toPrecision(2)}`
    throw badInput(
      `${path}: ${quoted(name)} ${what}: nothing can be weighed by it; make the moments again`,
      place,
    )
  }
  if (kind === 'diagonal') return { kind, values }
  const skew = makeSymmetric(values, k, diagonal)
  if (skew !== undefined) {
    const { row, column, below, above } = skew
    throw badInput(
      `${path}: ${quoted(name)} isn't symmetric: ${below} at row ${row + 1}, column ${column + 1}, and ${above} across; make the moments again`,
      place,
    )
  }
  return { kind, C: { rows: k, columns: k, data: values } }
}

const whereOf = (at: number, kind: LayerMoments['kind'], k: number) =>
  kind === 'full' ? `at row ${Math.floor(at / k) + 1}, column ${(at % k) + 1}` : `at place ${at + 1}`

/** Side of the squares that are gone through at a time: both sides of the diagonal then stay in a cache. */
const TILE = 64

/** Gives both of mirror images their mean, and stops at a pair that is too far from each other, which it gives. */
function makeSymmetric(values: Float64Array, k: number, diagonal: Float64Array) {
  const allowed = Float64Array.from(diagonal, (x) => Math.sqrt(SYMMETRY_TOLERANCE * x))
  for (let i0 = 0; i0 < k; i0 += TILE) {
    for (let j0 = 0; j0 <= i0; j0 += TILE) {
      const i1 = Math.min(k, i0 + TILE)
      for (let i = i0; i < i1; i++) {
        const j1 = Math.min(i, j0 + TILE)
        for (let j = j0; j < j1; j++) {
          const below = values[i * k + j]
          const above = values[j * k + i]
          if (below === above) continue
          if (!(Math.abs(below - above) <= allowed[i] * allowed[j]))
            return { row: i, column: j, below, above }
          values[i * k + j] = (below + above) / 2
          values[j * k + i] = values[i * k + j]
        }
      }
    }
  }
  return undefined
}
