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
  const { path, name, tensor, kind, inputs: k, divisor } = moments
  const place = { file: path, tensor: name }
  const stored = await readFloats(tensor)
  const at = firstNonFinite(stored)
  if (at >= 0) {
    throw new LoraSvdError(
      'not-finite',
      `${path}: ${quoted(name)} has ${stored[at]} ${whereOf(at, kind, k)}; make the moments again`,
      place,
    )
  }
  const values = Float64Array.from(stored, (x) => x / divisor)
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
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [values[i * k + j], values[j * k + i]]
      if (!(Math.abs(below - above) <= SYMMETRY_TOLERANCE * Math.sqrt(diagonal[i] * diagonal[j]))) {
        throw badInput(
          `${path}: ${quoted(name)} isn't symmetric: ${below} at row ${i + 1}, column ${j + 1}, and ${above} across; make the moments again`,
          place,
        )
      }
      const both = below === above ? below : (below + above) / 2
      values[i * k + j] = both
      values[j * k + i] = both
    }
  }
  return { kind, C: { rows: k, columns: k, data: values } }
}

const whereOf = (at: number, kind: LayerMoments['kind'], k: number) =>
  kind === 'full' ? `at row ${Math.floor(at / k) + 1}, column ${(at % k) + 1}` : `at place ${at + 1}`
