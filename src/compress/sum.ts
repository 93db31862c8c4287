import type { FloatDtype } from '../formats/dtype.ts'
import type { JobContext } from '../jobs/worker.ts'
import { zeros } from '../linalg/matrix/matrix.ts'
import { chooseRank, errorAllowed, type MatrixRule, type RankLimits } from '../linalg/spectrum/rules.ts'
import { type ProductSvd, productSvd } from '../linalg/truncation/product-svd.ts'
import type { Root } from '../linalg/weighting/root.ts'
import { type WeighedProduct, weighedProduct } from '../linalg/weighting/weighed-product.ts'
import type { StoredFactors } from '../lora/factors.ts'
import { type PackedFactors, packedDigest, packedFactors } from '../lora/write/packed.ts'
import { rootBytes, rootFlops, rootOfMoments } from '../moments/root.ts'
import type { LayerMoments } from '../moments/types.ts'
import type { WeighedFacts } from './layer-result.ts'
import { stackedTerms, type Term } from './terms.ts'

/** What is wanted of a sum: its spectrum alone, or factors of a rank that a rule chooses; `exact` takes the numerical rank. */
export type SumRequest =
  | { readonly kind: 'spectrum' }
  | { readonly kind: 'exact' }
  | { readonly kind: 'rule'; readonly rule: MatrixRule; readonly limits: RankLimits }

/** What a worker is asked: plain data. */
export interface SumJob {
  readonly name: string
  readonly terms: readonly Term[]
  /** Which matrix of a stack of experts. */
  readonly expert?: number
  readonly rows: number
  readonly columns: number
  readonly ask: SumRequest
  /** Of the factors that will be written. */
  readonly dtype: FloatDtype
  /** Of the layer's inputs, in whose norm it is truncated. */
  readonly moments?: LayerMoments
}

/** A sum Σ wᵢ·sᵢ·Bᵢ·Aᵢ, and factors of it. */
export interface SumResult {
  readonly name: string
  /** The singular values of the sum that are more than rounding, non-increasing; with moments all figures are in the norm of the inputs. */
  readonly singularValues: Float64Array
  /** ‖Σ wᵢΔᵢ‖_F. */
  readonly frobenius: number
  /** How far rounding may let the norm of what is left out be off. */
  readonly rounding: number
  /** That was chosen; 0 where only the spectrum was asked for, or the sum is rounding alone. */
  readonly rank: number
  /** B [rows, rank] and A [rank, columns] as they are stored, rounded once; of rank 0 where only the spectrum was asked for. */
  readonly factors: PackedFactors
  /** ‖Σ wᵢΔᵢ − B·A‖_F of these; ‖Σ wᵢΔᵢ‖_F where there are none. */
  readonly residual: number
  /** `packedDigest` of the factors. */
  readonly digest: string
  /** ⟨wᵢΔᵢ, wⱼΔⱼ⟩_F of the adapters, by their numbers: a symmetric matrix of rows. */
  readonly inner: readonly (readonly number[])[]
  /** What weighed the sum, and what it and its factors are without. */
  readonly weighed?: WeighedSum
  readonly engine: string
  readonly seconds: number
}

/** A sum that moments weigh, in the plain norm. */
export interface WeighedSum extends Omit<WeighedFacts, 'plain'> {
  readonly plain: Pick<SumResult, 'singularValues' | 'frobenius' | 'rounding' | 'residual'>
}

/** Ranks tried at most beyond the one that holds the error before the factors are rounded. */
const MOST_EXTRA_RANKS = 4

/** Counted for float64 factors of which all directions are wanted, and Householder's QR of each. */
const COPIES = 9

const rankOf = ({ terms }: SumJob) => terms.reduce((sum, { module }) => sum + module.rank, 0)

/** The flops of a job: two triangles and bases, the SVD of the core, and the products that measure. */
export function flopsOf(job: SumJob): number {
  const { rows, columns } = job
  const rank = Math.min(rankOf(job), rows, columns)
  const plain = 4 * (rows + columns) * rank ** 2 + 22 * rank ** 3
  return job.moments === undefined ? plain : 2 * plain + rootFlops(job.moments, rankOf(job))
}

/**
 * The most memory that a job takes at one time, in so many times its stacked factors in float64: as read and stacked, bases, best factors
 * as found, rounded and packed, what of these lies outside of the bases, and what an engine copies. Of 16-bit factors it is less.
 */
export function bytesOf(job: SumJob): number {
  const { rows, columns } = job
  const plain = 8 * (rows + columns) * rankOf(job) * COPIES
  return job.moments === undefined ? plain : 2 * plain + rootBytes(job.moments)
}

/**
 * The sum of what modules of one weight add to it, as the SVD of its stacked factors gives it; no matrix of the weight's size is
 * formed unless the ranks are beyond that. Throws LoraSvdError `not-finite` on NaN and infinity, `bad-input` on numbers out of range.
 */
export async function sumModules(job: SumJob, context: JobContext): Promise<SumResult> {
  const start = performance.now()
  const engine = await context.engine(flopsOf(job))
  const { parts, weights, B, A } = await stackedTerms(job.terms, job)
  const { moments } = job
  const plain = productSvd(engine, B, A, weights)
  const root = moments === undefined ? undefined : await rootOfMoments(moments, engine)
  const svd =
    root === undefined || root.kind === 'unit'
      ? plain
      : weighedProduct(engine, B, A, weights, root, moments?.side === 'rows')
  const singularValues = aboveRounding(svd)
  const found = factorsOf(job, { ...svd, S: singularValues })
  return {
    name: job.name,
    singularValues,
    frobenius: singularValues.length === 0 ? 0 : svd.frobenius,
    rounding: svd.rounding,
    rank: found.factors.A.rows,
    ...found,
    inner: innerProducts(plain, parts, job.terms, weights),
    ...(moments !== undefined && root !== undefined && { weighed: weighedSum(moments, root, plain, found) }),
    engine: engine.name,
    seconds: (performance.now() - start) / 1000,
  }
}

/**
 * The rank at which so many directions of a matrix can be stored as a multiple: the last of them may be zeros, as long as the matrix
 * itself has that many.
 */
export function storedOrder(
  directions: number,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  { multipleOf = 1 }: RankLimits,
): number {
  const multiple = Math.ceil(directions / multipleOf) * multipleOf
  return multiple <= Math.min(rows, columns) ? multiple : directions
}

const aboveRounding = ({ S, rounding }: Pick<ProductSvd, 'S' | 'rounding'>): Float64Array => {
  const kept = S.findIndex((s) => s <= rounding)
  return kept < 0 ? S : S.slice(0, kept)
}

function weighedSum(
  { kind, inputs, samples }: LayerMoments,
  root: Root,
  plain: ProductSvd,
  { factors }: Pick<SumResult, 'factors'>,
): WeighedSum {
  const residual = factors.A.rows === 0 ? plain.frobenius : plain.distance(factors)
  return {
    ...{
      kind,
      inputs,
      floored: root.kind === 'unit' ? 0 : root.floored,
      ...(samples !== undefined && { samples }),
    },
    plain: {
      singularValues: aboveRounding(plain),
      frobenius: plain.frobenius,
      rounding: plain.rounding,
      residual,
    },
  }
}

function factorsOf(job: SumJob, svd: WeighedProduct): Pick<SumResult, 'factors' | 'residual' | 'digest'> {
  const { ask, rows, columns, dtype } = job
  const most = svd.S.length
  const factors = { B: zeros(rows, 0), A: zeros(0, columns) }
  const none = { factors, digest: packedDigest(factors, dtype) }
  if (ask.kind === 'spectrum' || most === 0) return { ...none, residual: most === 0 ? 0 : svd.frobenius }
  const at = (rank: number) => {
    const factors = packedFactors(job.name, svd.factors(rank), dtype)
    return { factors, residual: svd.distance(factors), digest: packedDigest(factors, dtype) }
  }
  if (ask.kind === 'exact') return at(most)
  const { rule, limits } = ask
  const order = storedOrder(most, job, limits)
  const padded = new Float64Array(order)
  padded.set(svd.S)
  const first = chooseRank(padded, rule, limits)
  const found = at(Math.min(first, most))
  const allowed = errorAllowed(rule) * svd.frobenius
  if (found.residual <= allowed) return found
  // rounding took what the rule left no room for
  const { maxRank = order, multipleOf = 1 } = limits
  for (let i = 1; i <= MOST_EXTRA_RANKS && first + i * multipleOf <= Math.min(order, maxRank); i++) {
    const more = at(Math.min(first + i * multipleOf, most))
    if (more.residual <= allowed) return more
  }
  return found
}

/** ⟨wᵢΔᵢ, wⱼΔⱼ⟩ = tr((BⱼᵀBᵢ)·(AᵢAⱼᵀ)) of the adapters, from the Gram matrices of the stacked factors. */
function innerProducts(
  svd: ProductSvd,
  parts: readonly StoredFactors[],
  terms: readonly Term[],
  weights: Float64Array,
): number[][] {
  const count = 1 + Math.max(...terms.map(({ adapter }) => adapter))
  if (count === 1) return [[svd.frobenius ** 2]]
  const inner = Array.from({ length: count }, () => new Array<number>(count).fill(0))
  const { B, A } = svd.grams()
  const owners = parts.flatMap((part, i) => Array<number>(part.A.rows).fill(terms[i].adapter))
  for (let i = 0; i < owners.length; i++) {
    for (let j = 0; j <= i; j++) {
      const at = i * owners.length + j
      const product = weights[i] * weights[j] * B.data[at] * A.data[at]
      inner[owners[i]][owners[j]] += product
      if (i !== j) inner[owners[j]][owners[i]] += product
    }
  }
  return inner
}
