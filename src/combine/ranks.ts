import {
  bytesOf,
  flopsOf,
  type SumJob,
  type SumRequest,
  type SumResult,
  storedOrder,
  sumModules,
} from '../compress/sum.ts'
import { badInput } from '../errors.ts'
import { bytesPerElement } from '../formats/dtype.ts'
import { doJobs, type RunContext } from '../jobs/context.ts'
import { zeros } from '../linalg/matrix/matrix.ts'
import { splitBudget } from '../linalg/spectrum/budget.ts'
import { type AskedRule, type RankLimits, withinLimits } from '../linalg/spectrum/rules.ts'
import { type AdapterModule, elementsPerRank, ofExpert } from '../lora/model.ts'
import type { AdapterLayout } from '../lora/write/peft.ts'
import { comparable } from '../moments/comparable.ts'
import type { LayerMoments } from '../moments/types.ts'
import { addTo } from '../text/compare.ts'
import { bytes as byteText } from '../text/numbers.ts'
import type { CombinePlan } from './plan.ts'

/** How the ranks of a sum are chosen: by a rule, or as many as the sum has. */
export type SumRule = Exclude<AskedRule, { kind: 'noise-floor' }> | { readonly kind: 'exact' }

export interface RankSettings {
  readonly rule: SumRule
  readonly limits: RankLimits
  /** All modules get the largest rank that the rule chose. */
  readonly uniform: boolean
  readonly layout: AdapterLayout
  /** Of the inputs of each layer, where it has them; left out where none are given. */
  readonly moments?: readonly (LayerMoments | undefined)[] | undefined
}

/** What is known of each layer once its rank is: with its factors, or without where they would have to be kept too long. */
export interface RankedSums {
  readonly ranks: readonly number[]
  readonly results: readonly SumResult[]
  /** Squared error that any other split of a budget could at most take, relative to Σ‖Δ‖². */
  readonly couldGain?: number
}

/** Factors of all layers that are kept for the writing rather than made again: little beside what a machine has. */
const KEPT_BYTES = 512 * 2 ** 20

/** The factors of the layers at these indices, in order, as the request of each asks. */
async function* sums(
  { layers, dtype }: CombinePlan,
  asks: ReadonlyMap<number, SumRequest>,
  moments: RankSettings['moments'],
  context: RunContext,
): AsyncGenerator<{ index: number; result: SumResult }> {
  const all = [...asks].map(([index, ask]) => {
    const { name, module, terms, expert } = layers[index]
    const { rows, columns } = module
    const own = terms.map((term) => ({ ...term, module: ofExpert(term.module, expert) }))
    const job: SumJob = {
      name,
      terms: own,
      rows,
      columns,
      ask,
      dtype,
      ...(expert !== undefined && { expert }),
      ...(moments?.[index] !== undefined && { moments: moments[index] }),
    }
    return { index, job }
  })
  const results = doJobs(
    all.map(({ job }) => job),
    {
      kind: 'sum',
      work: sumModules,
      flopsOf,
      bytesOf,
      nameOf: ({ name }) => name,
      task: { phase: 'summing', noun: 'layers', unit: 'flops' },
    },
    context,
  )
  let at = 0
  for await (const result of results) yield { index: all[at++].index, result }
}

/** Finds each layer's rank. Where the rule needs all spectra, or the factors are too many to be kept, `sumOf` makes them again. */
export async function rankSums(
  plan: CombinePlan,
  settings: RankSettings,
  /** The exact bytes of the result at these ranks. */
  sizeAt: (ranks: readonly number[]) => number,
  context: RunContext,
): Promise<RankedSums> {
  const { rule, limits, uniform } = settings
  const isSettled = rule.kind !== 'budget' && !uniform
  const ask: SumRequest =
    rule.kind === 'budget'
      ? { kind: 'spectrum' }
      : rule.kind === 'exact'
        ? rule
        : { kind: 'rule', rule, limits }
  const results: SumResult[] = []
  let kept = 0
  for await (const { index, result } of sums(
    plan,
    new Map(plan.layers.map((_, i) => [i, ask])),
    settings.moments,
    context,
  )) {
    const { A, B } = result.factors
    kept += A.data.byteLength + B.data.byteLength
    results[index] = isSettled && kept <= KEPT_BYTES ? result : withoutFactors(result)
  }
  const own = results.map(({ rank }) => rank)
  if (rule.kind === 'budget')
    return { results, ...budgetRanks(plan, comparableSums(results), settings, rule.bytes, sizeAt) }
  if (!uniform) return { results, ranks: own }
  const most = Math.max(0, ...own)
  const ranks = results.map(({ singularValues: { length } }, i) =>
    length === 0 || most === 0
      ? 0
      : Math.min(
          length,
          withinLimits(most, storedOrder(length, plan.layers[i].module, limits), { ...limits, minRank: 1 }),
        ),
  )
  return { results, ranks }
}

const withoutFactors = (result: SumResult): SumResult => ({
  ...result,
  factors: { B: zeros(result.factors.B.rows, 0), A: zeros(0, result.factors.A.columns) },
})

/** The factors of layers at their ranks, in this order of them: those that are kept, and the others made again. */
export async function* factorsAt(
  plan: CombinePlan,
  { ranks, results }: RankedSums,
  order: readonly number[],
  moments: RankSettings['moments'],
  context: RunContext,
): AsyncGenerator<SumResult> {
  const missing = new Map<number, SumRequest>()
  for (const i of order) {
    const rank = ranks[i]
    const request = { kind: 'rule', rule: { kind: 'rank', rank }, limits: {} } as const
    if (rank > 0 && results[i].factors.A.rows !== rank) missing.set(i, request)
  }
  const again = sums(plan, missing, moments, context)
  for (const i of order) {
    if (missing.has(i)) yield (await again.next()).value.result
    else yield ranks[i] === 0 ? withoutFactors(results[i]) : results[i]
  }
}

const comparableSums = (results: readonly SumResult[]): readonly SumResult[] =>
  comparable(
    results,
    ({ frobenius, weighed }) => weighed && { felt: frobenius, plain: weighed.plain.frobenius },
    (result, by) => ({
      ...result,
      singularValues: result.singularValues.map((s) => s * by),
      frobenius: result.frobenius * by,
    }),
  )

function budgetRanks(
  plan: CombinePlan,
  results: readonly SumResult[],
  { limits, layout, uniform }: RankSettings,
  bytes: number,
  sizeAt: (ranks: readonly number[]) => number,
): Pick<RankedSums, 'ranks' | 'couldGain'> {
  const total = results.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
  const orders = results.map(({ singularValues }) => singularValues.length)
  const tail = (ranks: readonly number[]) =>
    results.reduce(
      (sum, { singularValues }, i) =>
        sum + singularValues.subarray(ranks[i]).reduce((left, s) => left + s * s, 0),
      0,
    )
  const tooSmall = (needed: number) =>
    badInput(
      `--budget ${byteText(bytes)}: at the least ranks the adapter takes ${byteText(needed)} already; give that much`,
    )
  const stored = orders.map((order, i) => storedOrder(order, plan.layers[i].module, limits))
  const at = (r: number) =>
    orders.map((order, i) => (order === 0 ? 0 : Math.min(order, withinLimits(r, stored[i], limits))))
  const least = sizeAt(at(0))
  if (least > bytes) throw tooSmall(least)
  if (layout === 'portable' || uniform) {
    // padding makes all ranks cost as much as the largest
    let [fits, tooMuch] = [0, Math.max(1, ...stored) + 1]
    while (tooMuch - fits > 1) {
      const middle = (fits + tooMuch) >> 1
      if (sizeAt(at(middle)) <= bytes) fits = middle
      else tooMuch = middle
    }
    const ranks = at(fits)
    return { ranks, couldGain: 0 }
  }
  const matrices = modulesWithLayers(plan).map(({ module, layers }) => ({
    name: module.label,
    squares: squaresOf(
      layers.map((i) => results[i].singularValues),
      Math.max(0, ...layers.map((i) => stored[i])),
    ),
    bytesPerRank: elementsPerRank(module) * bytesPerElement(plan.dtype),
    weight: 1,
    layers,
  }))
  const spread = (ranks: readonly number[]) => {
    const found: number[] = []
    for (const [m, { layers }] of matrices.entries()) {
      for (const i of layers) found[i] = Math.min(ranks[m], orders[i])
    }
    return found
  }
  const own = matrices.map(({ squares }) => withinLimits(0, squares.length, limits))
  const factors = own.reduce((sum, rank, m) => sum + rank * matrices[m].bytesPerRank, 0)
  const split = splitBudget(matrices, {
    bytes,
    limits,
    exactBytes: (ranks) => sizeAt(spread(ranks)),
    leastAside: Math.min(least, sizeAt(spread(own)) - factors),
  })
  if ('needed' in split) throw tooSmall(split.needed)
  const ranks = spread(split.ranks)
  return { ranks, couldGain: total > 0 ? Math.min(split.bound, tail(ranks)) / total : 0 }
}

function modulesWithLayers({ modules, layers }: CombinePlan) {
  const indices = new Map<AdapterModule, number[]>()
  for (const [i, { module }] of layers.entries()) addTo(indices, module, i)
  return modules.map(({ module }) => ({ module, layers: indices.get(module)! }))
}

/** σ² of the layers of a module together, and zeros up to this order: experts have one rank. */
function squaresOf(spectra: readonly Float64Array[], order: number): Float64Array {
  const squares = new Float64Array(order)
  for (const S of spectra) for (const [i, s] of S.entries()) squares[i] += s * s
  return squares
}
