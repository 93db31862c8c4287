import type { SumResult } from '../compress/sum.ts'
import { frobeniusNorm, ratioOfNorms } from '../linalg/matrix/norms.ts'
import { errorAllowed } from '../linalg/spectrum/rules.ts'
import type { Interval } from '../linalg/spectrum/spectrum.ts'
import type { AdapterFormat } from '../lora/model.ts'
import type { AdapterLayout } from '../lora/write/peft.ts'
import { type OutputPlan, outputParameters } from './output.ts'
import type { LostTensor } from './plan.ts'
import type { RankedSums, SumRule } from './ranks.ts'

/** One matrix of the result, as it lies on disk. */
export interface CombinedLayer {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** Columns of the factors that add up, all together. */
  readonly rankBefore: number
  /** Singular values of the sum that are more than rounding. */
  readonly numericalRank: number
  /** Directions that the stored factors carry; what is stored may be padded with zeros. */
  readonly rank: number
  readonly storedRank: number
  /** ‖Σ wᵢΔᵢ‖_F. */
  readonly frobenius: number
  /** ‖Σ wᵢΔᵢ − B·A‖_F / ‖Σ wᵢΔᵢ‖_F of what lies on disk. */
  readonly relativeError: number
  /** The same of the best factors of that rank; it is known but for rounding. */
  readonly optimalError: Interval
  /** ⟨wᵢΔᵢ, wⱼΔⱼ⟩_F of the adapters. */
  readonly inner: readonly (readonly number[])[]
}

/** What an adapter made from adapters is, as it lies on disk. */
export interface Combined {
  readonly rule: SumRule
  readonly layout: AdapterLayout
  readonly format: AdapterFormat
  readonly dtype: string
  readonly layers: readonly CombinedLayer[]
  /** Tensors that are no factors, and that the result has. */
  readonly kept: readonly string[]
  /** Tensors that nobody reads, and that the result has not. */
  readonly lost: readonly LostTensor[]
  readonly totals: {
    readonly modules: number
    readonly layers: number
    /** Entries of the factors as stored. */
    readonly parameters: number
    readonly bytesBefore: number
    readonly bytes: number
    readonly relativeError: number
    readonly optimalError: Interval
  }
  /** Squared error that any other split of a budget could at most take, relative to Σ‖Δ‖². */
  readonly couldGain?: number
  /** Layers whose error is above what was asked. */
  readonly broken: readonly string[]
  readonly holds: boolean
  readonly output: {
    readonly path: string
    readonly format: AdapterFormat
    readonly bytes: number
    readonly files: readonly string[]
  }
  readonly warnings: readonly string[]
  readonly engine: string
}

export function combinedOf(
  planned: OutputPlan,
  { output, rule }: { readonly output: string; readonly rule: SumRule },
  { ranks, couldGain }: RankedSums,
  results: readonly SumResult[],
  files: readonly { readonly name: string; readonly bytes: number }[],
): Combined {
  const { plan, layout, modules } = planned
  const stored = new Map(modules.map(({ summed, storedRank }) => [summed.module, storedRank]))
  const layers = plan.layers.map(({ name, module, terms }, i): CombinedLayer => {
    const { singularValues, frobenius, residual, inner } = results[i]
    return {
      name,
      shape: [module.rows, module.columns],
      rankBefore: terms.reduce((sum, term) => sum + term.module.rank, 0),
      numericalRank: singularValues.length,
      rank: ranks[i],
      storedRank: stored.get(module)!,
      frobenius,
      relativeError: relative(residual, frobenius),
      optimalError: optimumAt(results[i], ranks[i]),
      inner,
    }
  })
  const allowed = rule.kind === 'exact' ? Number.POSITIVE_INFINITY : errorAllowed(rule)
  const broken = layers.filter(({ relativeError }) => relativeError > allowed).map(({ name }) => name)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const isInBudget = rule.kind !== 'budget' || bytes <= rule.bytes
  const norms = layers.map(({ frobenius }) => frobenius)
  const over = (of: (layer: CombinedLayer) => number) =>
    ratioOfNorms(
      layers.map((layer) => layer.frobenius * of(layer)),
      norms,
    )
  return {
    rule,
    layout,
    format: plan.format,
    dtype: plan.dtype,
    layers,
    kept: plan.kept.map(({ name }) => name),
    lost: plan.lost,
    totals: {
      modules: modules.length,
      layers: layers.length,
      parameters: outputParameters(planned),
      bytesBefore: plan.summands.reduce(
        (sum, { checkpoint }) => sum + checkpoint.files.reduce((all, file) => all + file.bytes, 0),
        0,
      ),
      bytes,
      relativeError: over(({ relativeError }) => relativeError),
      optimalError: {
        atLeast: over(({ optimalError }) => optimalError.atLeast),
        atMost: over(({ optimalError }) => optimalError.atMost),
      },
    },
    ...(couldGain !== undefined && { couldGain }),
    broken,
    holds: broken.length === 0 && isInBudget && plan.lost.length === 0,
    output: { path: output, format: plan.format, bytes, files: files.map(({ name }) => name) },
    warnings: plan.warnings,
    engine: [...new Set(results.map(({ engine }) => engine))].join(', '),
  }
}

const relative = (residual: number, norm: number) => (residual === 0 ? 0 : residual / norm)

/** √Σ_{i>r} σᵢ² / ‖·‖_F, and how far rounding lets it be off. */
function optimumAt({ singularValues, frobenius, rounding }: SumResult, rank: number): Interval {
  if (frobenius === 0) return { atLeast: 0, atMost: 0 }
  const tail = frobeniusNorm(singularValues.subarray(rank))
  return {
    atLeast: Math.max(0, tail - rounding) / frobenius,
    atMost: (tail + rounding) / frobenius,
  }
}
