import { stackedTerms, type Term } from '../../compress/terms.ts'
import type { JobContext } from '../../jobs/worker.ts'
import { type Float64Matrix, transpose, zeros } from '../../linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../linalg/matrix/norms.ts'
import { pairOverlap } from '../../linalg/subspace/pair-overlap.ts'
import { principalAngles } from '../../linalg/subspace/principal-angles.ts'
import { block, part } from '../../linalg/svd/kernels.ts'
import { oneBelowTheOther, sideBySide } from '../../linalg/truncation/columns.ts'
import type { ProductEngine } from '../../linalg/truncation/factor-basis.ts'
import { productSvd } from '../../linalg/truncation/product-svd.ts'
import { addTo } from '../../text/compare.ts'

/** What a worker is asked: plain data. */
export interface CompareJob {
  readonly name: string
  /** The factors of all adapters that change the layer. */
  readonly terms: readonly Term[]
  /** Which matrix of a stack of experts. */
  readonly expert?: number
  readonly rows: number
  readonly columns: number
  /** Whether the angles themselves are wanted: of two adapters alone. */
  readonly withAngles: boolean
}

/** Figures of pairs, in the order (0, 1), (0, 2), …, (1, 2), …; NaN with an adapter that does nothing in the layer. */
export interface PairFigures {
  readonly cosine: Float64Array
  readonly columns: Float64Array
  readonly rows: Float64Array
  readonly keptFirst: Float64Array
  readonly keptSecond: Float64Array
}

/** Principal angles in degrees, ascending. */
export interface Angles {
  readonly columns: Float64Array
  readonly rows: Float64Array
}

/** A layer, as its adapters change it. */
export interface LayerOverlap {
  readonly name: string
  /** The numbers of the adapters that change it, ascending. */
  readonly adapters: readonly number[]
  /** The numerical rank of the change of each. */
  readonly ranks: readonly number[]
  /** ‖Δ‖_F of each. */
  readonly norms: readonly number[]
  readonly pairs: PairFigures
  readonly angles?: Angles
  readonly engine: string
}

export const pairsOf = (count: number) => (count * (count - 1)) / 2

/** Where the figures of the pair i < j of so many lie. */
export const pairAt = (i: number, j: number, count: number) => i * count - (i * (i + 1)) / 2 + j - i - 1

const rankOf = ({ terms, rows, columns }: CompareJob) =>
  terms.reduce((sum, { module }) => sum + Math.min(module.rank, rows, columns), 0)

/** The flops of a job: each adapter's QRs and core, the products of all bases with each other, and what pairs make of these. */
export function flopsOf(job: CompareJob): number {
  const { terms, rows, columns } = job
  const all = rankOf(job)
  const bases = terms.reduce(
    (sum, { module: { rank } }) => sum + 6 * (rows + columns) * rank ** 2 + 22 * rank ** 3,
    0,
  )
  return bases + (rows + columns) * all ** 2 + (4 * all ** 3) / Math.max(1, terms.length)
}

/** The most memory that a job takes at one time: all bases, each by itself and side by side, and their products. */
export function bytesOf(job: CompareJob): number {
  const all = rankOf(job)
  return 8 * (2 * (job.rows + job.columns) * all + 2 * all ** 2)
}

/**
 * How the adapters' changes of a layer lie to each other. Each is decomposed once, by its factors; all else follows from the products
 * of the orthonormal bases. Throws LoraSvdError `not-finite` on NaN and infinity, and on numbers out of range.
 */
export async function compareLayer(job: CompareJob, context: JobContext): Promise<LayerOverlap> {
  const engine = await context.engine(flopsOf(job))
  const byAdapter = new Map<number, Term[]>()
  for (const term of job.terms) addTo(byAdapter, term.adapter, term)
  const adapters = [...byAdapter.keys()].sort((a, b) => a - b)
  const changes: Change[] = []
  for (const adapter of adapters) changes.push(await changeOf(engine, byAdapter.get(adapter)!, job))
  return {
    name: job.name,
    adapters,
    ranks: changes.map(({ weights }) => weights.length),
    norms: changes.map(({ norm }) => norm),
    pairs: pairsOfChanges(engine, changes, job),
    ...(job.withAngles && changes.length === 2 && { angles: anglesBetween(engine, changes) }),
    engine: engine.name,
  }
}

/** What one adapter does to a layer: norm·U·diag(weights)·Vᵀ. */
interface Change {
  readonly U: Float64Matrix
  readonly Vt: Float64Matrix
  /** The singular values over their norm. */
  readonly weights: Float64Array
  readonly norm: number
}

/** The change that terms add up to, of its numerical rank: directions that are rounding, and zeros that pad, are none. */
async function changeOf(engine: ProductEngine, terms: readonly Term[], job: CompareJob): Promise<Change> {
  const { B, A, weights } = await stackedTerms(terms, job)
  const svd = productSvd(engine, B, A, weights)
  const rank = svd.S.findLastIndex((s) => s > svd.rounding) + 1
  if (rank === 0) {
    return { U: zeros(job.rows, 0), Vt: zeros(0, job.columns), weights: new Float64Array(0), norm: 0 }
  }
  const S = svd.S.subarray(0, rank)
  const norm = frobeniusNorm(S)
  return { ...svd.directions(rank), weights: S.map((s) => s / norm), norm }
}

/** The figures of all pairs, from the products of all bases with each other. */
function pairsOfChanges(
  engine: ProductEngine,
  changes: readonly Change[],
  { rows, columns }: CompareJob,
): PairFigures {
  const count = pairsOf(changes.length)
  const figures = () => new Float64Array(count).fill(Number.NaN)
  const found = {
    cosine: figures(),
    columns: figures(),
    rows: figures(),
    keptFirst: figures(),
    keptSecond: figures(),
  }
  if (count === 0) return found
  const left = whole(
    engine.gram(
      sideBySide(
        rows,
        changes.map(({ U }) => U),
      ),
    ),
  )
  const right = whole(
    engine.gram(
      oneBelowTheOther(
        columns,
        changes.map(({ Vt }) => Vt),
      ),
      'rows',
    ),
  )
  const starts = startsOf(changes)
  for (const [i, first] of changes.entries()) {
    for (let j = i + 1; j < changes.length; j++) {
      const [p, q] = [first.weights, changes[j].weights]
      if (p.length === 0 || q.length === 0) continue
      const [M, N] = [left, right].map((all) => part(all, starts[i], starts[j], p.length, q.length))
      const overlap = pairOverlap(M, N, p, q)
      const at = pairAt(i, j, changes.length)
      found.cosine[at] = overlap.cosine
      found.columns[at] = overlap.columns
      found.rows[at] = overlap.rows
      found.keptFirst[at] = overlap.keptFirst
      found.keptSecond[at] = overlap.keptSecond
    }
  }
  return found
}

const whole = ({ data, rows, columns }: Float64Matrix) => block(data, rows, columns)

/** Where each change's directions begin among all. */
function startsOf(changes: readonly Change[]): number[] {
  const starts: number[] = []
  let next = 0
  for (const { weights } of changes) {
    starts.push(next)
    next += weights.length
  }
  return starts
}

const anglesBetween = (engine: ProductEngine, [first, second]: readonly Change[]): Angles => ({
  columns: principalAngles(engine, first.U, second.U),
  rows: principalAngles(engine, transpose(first.Vt), transpose(second.Vt)),
})
