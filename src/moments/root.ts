import { badInput } from '../errors.ts'
import { type Root, type RootEngine, rootOf, rootOfDiagonal } from '../linalg/weighting/root.ts'
import { quoted } from '../text/quote.ts'
import { readMoments } from './read.ts'
import type { LayerMoments } from './types.ts'

/** The last root that this thread has made: layers that share an input follow each other. */
let last: { readonly key: string; readonly root: Root } | undefined

/** Roots of more bytes than this are made again. */
const KEPT_BYTES = 256 * 2 ** 20

/** Float64 copies of C at one time: as stored and read, what is factored, the factor, and what an engine copies. */
const COPIES = 5

/** The most memory that reading moments and their root take. */
export const rootBytes = ({ kind, inputs }: LayerMoments): number =>
  kind === 'full' ? COPIES * 8 * inputs * inputs : COPIES * 8 * inputs

/** What Cholesky's factor and the product with it take, in the measure by which engines are chosen. */
export const rootFlops = ({ kind, inputs }: LayerMoments, others: number): number =>
  kind === 'full' ? inputs ** 3 / 3 + inputs * inputs * others : inputs * others

/**
 * R with R·Rᵀ = C of a layer's moments. Throws as `readMoments` does, and `bad-input` where C has a negative eigenvalue that is no
 * rounding.
 */
export async function rootOfMoments(moments: LayerMoments, engine: RootEngine): Promise<Root> {
  const { source } = moments.tensor
  const key =
    source.kind === 'range'
      ? JSON.stringify([source, moments.from, moments.divisor, moments.kind])
      : undefined
  if (key !== undefined && last?.key === key) return last.root
  last = undefined
  const read = await readMoments(moments)
  const root = read.kind === 'diagonal' ? rootOfDiagonal(read.values) : rootOf(engine, read.C)
  if (root.kind === 'negative') {
    throw badInput(
      `${moments.path}: ${quoted(moments.name)} has the eigenvalue ${root.eigenvalue.toPrecision(2)} of its mean: second moments have none below 0 but for rounding; make them again, in float32 or wider`,
      { file: moments.path, tensor: moments.name },
    )
  }
  if (key !== undefined && rootBytes(moments) <= KEPT_BYTES) last = { key, root }
  return root
}
