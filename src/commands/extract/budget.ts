import { ownRank, type RankRequest, rankRequest } from '../../compress/layer-result.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { bytesPerElement } from '../../formats/dtype.ts'
import { type BudgetedMatrix, splitBudget } from '../../linalg/spectrum/budget.ts'
import { numericalRank } from '../../linalg/spectrum/ranks.ts'
import { withinLimits } from '../../linalg/spectrum/rules.ts'
import type { Spectrum } from '../../linalg/spectrum/spectrum.ts'
import { bytes as byteText } from '../../text/numbers.ts'
import type { ExtractSettings } from './options.ts'
import { adapterBytes, entriesOf, leastOverhead, TEXT_THAT_GOES } from './output.ts'
import { type ExtractionPlan, layersByModule } from './plan.ts'
import type { Decision } from './ranks.ts'
import type { BudgetSpent } from './result.ts'

/** How a byte budget is spent. */
export interface BudgetPlan {
  /** What the first round asks of each layer. */
  readonly firstRanks: readonly number[]
  decide(spectra: readonly Spectrum[]): Decision
  spent(ranks: readonly number[], spectra: readonly Spectrum[]): BudgetSpent
}

/** Singular triplets that a layer is asked for before it is known how many the budget pays for. */
const FIRST_RANK = 32

const tooSmall = (budget: number, needed: number): LoraSvdError =>
  badInput(
    `--budget ${byteText(budget)}: at the least ranks the adapter takes ${byteText(needed)} already; give that much, or leave tensors out with --exclude`,
  )

/** What a rank leaves of ‖Δ‖_F², by the values that are known. */
const leftBy = ({ singularValues, frobenius }: Spectrum, rank: number): number =>
  Math.max(
    0,
    singularValues.subarray(0, rank).reduce((left, s) => left - s * s, frobenius ** 2),
  )

/** One module of the adapter: a matrix, or the experts of one tensor, which are stored at one rank. */
interface BudgetedModule {
  readonly name: string
  /** The indices of its layers. */
  readonly layers: readonly number[]
  readonly order: number
  readonly bytesPerRank: number
}

/** Spread so that the summed squared error is least. A layer whose known triplets are all wanted is asked for twice as many. */
function patternBudget(plan: ExtractionPlan, options: ExtractSettings, budget: number): BudgetPlan {
  const { limits } = options
  const { multipleOf = 1 } = limits
  const modules = modulesOf(plan)
  const most = modules.map(({ order }) => withinLimits(Number.POSITIVE_INFINITY, order, limits))
  const least = modules.map(({ order }) => withinLimits(0, order, limits))
  const ofLayers = (ranks: readonly number[], has: (layer: number) => number = () => Infinity) => {
    const found: number[] = []
    for (const [i, { layers }] of modules.entries()) {
      for (const layer of layers) found[layer] = Math.min(ranks[i], has(layer))
    }
    return found
  }
  const needed = adapterBytes(plan, options, ofLayers(least))
  if (needed > budget) throw tooSmall(budget, needed)

  const splitOf = (spectra: readonly Spectrum[]) => {
    const matrices = modules.map((one, i) => matrixOf(one, most[i], spectra))
    const known = (ranks: readonly number[]) =>
      ofLayers(ranks, (layer) => spectra[layer].singularValues.length)
    const own = matrices.map(({ squares }) => withinLimits(0, squares.length, limits))
    const factors = own.reduce((sum, rank, i) => sum + rank * modules[i].bytesPerRank, 0)
    const split = splitBudget(matrices, {
      bytes: budget,
      limits,
      exactBytes: (ranks) => adapterBytes(plan, options, known(ranks)),
      leastAside: leastOverhead(plan, options, known(own)) - factors,
    })
    if ('needed' in split) throw tooSmall(budget, split.needed)
    return { ofModules: split.ranks, ofLayers: known(split.ranks), bound: split.bound }
  }
  // asked of the same spectra twice: to decide, and to tell what was spent
  let last: { readonly spectra: readonly Spectrum[]; readonly split: ReturnType<typeof splitOf> } | undefined
  const lastSplit = (spectra: readonly Spectrum[]) => {
    if (last?.spectra !== spectra) last = { spectra, split: splitOf(spectra) }
    return last.split
  }
  return {
    firstRanks: ofLayers(least.map((rank, i) => Math.min(modules[i].order, Math.max(FIRST_RANK, rank)))),
    decide(spectra) {
      if (spectra.every(({ frobenius }) => frobenius === 0)) return { ranks: spectra.map(() => 0) }
      const split = lastSplit(spectra)
      const asks: (RankRequest | null)[] = spectra.map(() => null)
      for (const [i, { layers }] of modules.entries()) {
        for (const layer of layers) {
          const { length } = spectra[layer].singularValues
          const isNext = split.ofModules[i] + multipleOf > length && length < most[i]
          if (isNext && isKnownAboveRounding(spectra[layer])) {
            asks[layer] = rankRequest(Math.min(most[i], 2 * length))
          }
        }
      }
      return asks.some((ask) => ask !== null) ? { asks } : { ranks: split.ofLayers }
    },
    spent(ranks, spectra) {
      const total = spectra.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
      if (!(total > 0)) return { bytes: budget, used: 0, couldGain: 0 }
      const left = spectra.reduce((sum, spectrum, i) => sum + leftBy(spectrum, ranks[i]), 0)
      return {
        bytes: budget,
        used: adapterBytes(plan, options, ranks),
        couldGain: Math.min(lastSplit(spectra).bound, left) / total,
      }
    },
  }
}

/** In the order of their first layers. */
function modulesOf(plan: ExtractionPlan): BudgetedModule[] {
  const { layers, dtype } = plan
  return [...layersByModule(plan).values()].map((indices) => {
    const { name, tuned } = layers[indices[0]].pair
    return {
      name,
      layers: indices,
      order: Math.min(tuned.rows, tuned.columns),
      bytesPerRank: entriesOf(plan, layers[indices[0]]) * bytesPerElement(dtype),
    }
  })
}

/** Whether every value that is known is more than rounding: then there may be more. */
const isKnownAboveRounding = (spectrum: Spectrum) =>
  spectrum.singularValues.length > 0 && keptBy(spectrum) === spectrum.singularValues.length

const keptBy = ({ singularValues, rows, columns, epsilon }: Spectrum) =>
  numericalRank(singularValues, rows, columns, epsilon)

/** The values of all layers of a module together; rounding is not worth a byte. */
function matrixOf(
  { name, layers, bytesPerRank }: BudgetedModule,
  most: number,
  all: readonly Spectrum[],
): BudgetedMatrix {
  const spectra = layers.map((layer) => all[layer]).filter(({ frobenius }) => frobenius > 0)
  const length = Math.min(most, ...spectra.map(({ singularValues }) => singularValues.length))
  const squares = new Float64Array(spectra.length === 0 ? 0 : length)
  let excess = 0
  let square = 0
  for (const spectrum of spectra) {
    const { singularValues: S, frobenius, next } = spectrum
    excess += spectrum.excess * frobenius ** 2
    square += Math.max(next.atMost, S[length] ?? 0) ** 2
    const kept = keptBy(spectrum)
    for (let i = 0; i < squares.length; i++) {
      if (i < kept) squares[i] += S[i] ** 2
      else excess += S[i] ** 2
    }
  }
  const unknown = { excess, count: spectra.length === 0 ? 0 : most - length, square }
  return { name, squares, bytesPerRank, weight: 1, unknown }
}

/** The plan for spending `budget` bytes on the whole output. Throws `bad-input` where the least ranks take more. */
export function budgetPlan(plan: ExtractionPlan, options: ExtractSettings, budget: number): BudgetPlan {
  return options.layout === 'portable'
    ? portableBudget(plan, options, budget)
    : patternBudget(plan, options, budget)
}

/** Padding makes all ranks cost as much as the largest, so that the best is the largest rank of all that fits. */
function portableBudget(plan: ExtractionPlan, options: ExtractSettings, budget: number): BudgetPlan {
  const orders = plan.layers.map(({ pair: { tuned } }) => Math.min(tuned.rows, tuned.columns))
  const ranksAt = (r: number) => orders.map((order) => withinLimits(r, order, options.limits))
  const sizeAt = (r: number) => adapterBytes(plan, options, ranksAt(r))
  const least = sizeAt(1)
  if (least > budget) throw tooSmall(budget, least)
  const highest = Math.max(...orders)
  let [fits, tooMuch] = [1, highest + 1]
  while (tooMuch - fits > 1) {
    const middle = (fits + tooMuch) >> 1
    if (sizeAt(middle) <= budget) fits = middle
    else tooMuch = middle
  }
  // a line of the card that goes may pay for a few ranks more
  const last = Math.min(highest, fits + TEXT_THAT_GOES)
  for (let r = fits + 1; r <= last && sizeAt(r) <= budget + TEXT_THAT_GOES; r++) {
    if (sizeAt(r) <= budget) fits = r
  }
  return {
    firstRanks: ranksAt(fits),
    decide: (spectra) => ({
      ranks: spectra.map((spectrum) => ownRank(spectrum, options.rule, options.limits)),
    }),
    spent(ranks, spectra) {
      const total = spectra.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
      // no layout of one rank has more than these; but ranks that hold only rounding were left out
      const wanted = ranksAt(fits)
      const left = spectra.reduce(
        (sum, spectrum, i) => sum + (ranks[i] < wanted[i] ? leftBy(spectrum, ranks[i]) : 0),
        0,
      )
      return {
        bytes: budget,
        used: total > 0 ? adapterBytes(plan, options, ranks) : 0,
        couldGain: total > 0 ? left / total : 0,
      }
    },
  }
}
