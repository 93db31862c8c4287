import type { SumResult } from '../compress/sum.ts'
import { frobeniusNorm, ratioOfNorms } from '../linalg/matrix/norms.ts'
import { errorAllowed } from '../linalg/spectrum/rules.ts'
import type { Interval } from '../linalg/spectrum/spectrum.ts'
import type { AdapterFormat } from '../lora/model.ts'
import type { AdapterLayout } from '../lora/write/peft.ts'
import type { MomentKind } from '../moments/types.ts'
import { type OutputPlan, outputParameters } from './output.ts'
import type { LostTensor } from './plan.ts'
import type { RankedSums, RankSettings, SumRule } from './ranks.ts'

/** A layer in the norm of its inputs: with C = E[x·xᵀ] = R·Rᵀ, ‖D·R‖_F is the root of E‖D·x‖². */
export interface WeighedOutput {
  /** What is known of the inputs: all of C, or its diagonal. */
  readonly moments: MomentKind
  /** ‖Δ·R‖_F. */
  readonly frobenius: number
  /** ‖(Δ − B·A)·R‖_F / ‖Δ·R‖_F, measured on what lies on disk. */
  readonly relativeError: number
  /** The same of the best approximation of that rank. */
  readonly optimalError: Interval
  /** How many inputs the moments are of, where the file says. */
  readonly samples?: number
  /** Directions of so little in C that the floor of its eigenvalues stands in for it. */
  readonly floored: number
}

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
  /** In the norm that the layer's inputs feel, where moments weigh it. */
  readonly output?: WeighedOutput
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
    /** In the norm of the inputs, over the layers that moments weigh; left out where none were given. */
    readonly output?: {
      readonly layers: number
      readonly relativeError: number
      readonly optimalError: Interval
      /** Layers without moments. */
      readonly unweighed: readonly string[]
    }
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
  {
    output,
    rule,
    moments,
  }: { readonly output: string; readonly rule: SumRule } & Pick<RankSettings, 'moments'>,
  { ranks, couldGain }: RankedSums,
  results: readonly SumResult[],
  files: readonly { readonly name: string; readonly bytes: number }[],
): Combined {
  const { plan, layout, modules } = planned
  const stored = new Map(modules.map(({ summed, storedRank }) => [summed.module, storedRank]))
  const layers = plan.layers.map(({ name, module, terms }, i): CombinedLayer => {
    const { inner, weighed, singularValues } = results[i]
    const { frobenius, residual } = weighed?.plain ?? results[i]
    return {
      name,
      shape: [module.rows, module.columns],
      rankBefore: terms.reduce((sum, term) => sum + term.module.rank, 0),
      numericalRank: singularValues.length,
      rank: ranks[i],
      storedRank: stored.get(module)!,
      frobenius,
      relativeError: relative(residual, frobenius),
      optimalError: optimumAt(weighed?.plain ?? results[i], ranks[i]),
      ...outputOf(results[i], ranks[i]),
      inner,
    }
  })
  const allowed = rule.kind === 'exact' ? Number.POSITIVE_INFINITY : errorAllowed(rule)
  const broken = layers
    .filter(({ relativeError, output }) => (output?.relativeError ?? relativeError) > allowed)
    .map(({ name }) => name)
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
      ...(moments !== undefined && { output: outputTotals(layers) }),
    },
    ...(couldGain !== undefined && { couldGain }),
    broken,
    holds: broken.length === 0 && isInBudget && plan.lost.length === 0,
    output: { path: output, format: plan.format, bytes, files: files.map(({ name }) => name) },
    warnings: plan.warnings,
    engine: [...new Set(results.map(({ engine }) => engine))].join(', '),
  }
}

function outputOf(result: SumResult, rank: number): Pick<CombinedLayer, 'output'> {
  const { weighed, frobenius, residual } = result
  if (weighed === undefined) return {}
  const { kind, samples, floored } = weighed
  return {
    output: {
      ...{ moments: kind, frobenius, relativeError: relative(residual, frobenius) },
      ...{ optimalError: optimumAt(result, rank), floored, ...(samples !== undefined && { samples }) },
    },
  }
}

function outputTotals(layers: readonly CombinedLayer[]): NonNullable<Combined['totals']['output']> {
  const weighed = layers.flatMap(({ output }) => (output === undefined ? [] : [output]))
  const norms = weighed.map(({ frobenius }) => frobenius)
  const over = (of: (one: WeighedOutput) => number) =>
    ratioOfNorms(
      weighed.map((one) => one.frobenius * of(one)),
      norms,
    )
  return {
    layers: weighed.length,
    relativeError: over(({ relativeError }) => relativeError),
    optimalError: {
      atLeast: over(({ optimalError }) => optimalError.atLeast),
      atMost: over(({ optimalError }) => optimalError.atMost),
    },
    unweighed: layers.filter(({ output }) => output === undefined).map(({ name }) => name),
  }
}

const relative = (residual: number, norm: number) => (residual === 0 ? 0 : residual / norm)

/** √Σ_{i>r} σᵢ² / ‖·‖_F, and how far rounding lets it be off. */
function optimumAt(
  { singularValues, frobenius, rounding }: Pick<SumResult, 'singularValues' | 'frobenius' | 'rounding'>,
  rank: number,
): Interval {
  if (frobenius === 0) return { atLeast: 0, atMost: 0 }
  const tail = frobeniusNorm(singularValues.subarray(rank))
  return {
    atLeast: Math.max(0, tail - rounding) / frobenius,
    atMost: (tail + rounding) / frobenius,
  }
}
