import { readFileSync } from 'node:fs'
import type {
  AdapterFindings,
  EnergyShare,
  InspectResult,
  MatrixReport,
  RankCost,
} from '../../../src/commands/inspect/result.ts'
import { ENERGY_SHARES, TABULATED_RANKS } from '../../../src/commands/inspect/result.ts'
import { type MatrixFindings, verdictOf } from '../../../src/commands/inspect/verdict.ts'
import {
  effectiveRankOf,
  energyKept,
  energyRanks,
  numericalRankOf,
  spectralOf,
  stableRankOf,
} from '../../../src/linalg/spectrum/measures.ts'
import type { IntegerRange, Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'

/** Results as `inspect` gives them, for the tests of what is printed of them. */

const EPSILON = 2 ** -23
export const exactly = (n: number): IntegerRange => ({ atLeast: n, atMost: n })

/** Spectrum with all singular values. */
export function wholeSpectrum(rows: number, columns: number, S: Float64Array): Spectrum {
  const frobenius = Math.hypot(...S)
  const nothing = { excess: 0, next: { atLeast: 0, atMost: 0 }, failureProbability: 0 }
  return {
    rows,
    columns,
    frobenius,
    singularValues: S,
    complete: true,
    epsilon: EPSILON,
    method: 'full',
    ...nothing,
  }
}

/** The first `count` of a spectrum's singular values, as an iteration finds them: `excess` in all below the true ones. */
export function leadingSpectrum(whole: Spectrum, count: number, excess = 1e-4): Spectrum {
  const S = whole.singularValues
  const next = { atLeast: S[count] * 0.99, atMost: S[count] * 1.01 }
  const leading = { singularValues: S.slice(0, count), complete: false, excess, next }
  return { ...whole, ...leading, method: 'krylov', failureProbability: 1e-9 }
}

export interface Extras {
  readonly base?: NonNullable<MatrixReport['base']>
  readonly noise?: NonNullable<MatrixReport['noise']>
  readonly adapter?: AdapterFindings
  readonly dtype?: string
}

export function findingsOf(name: string, spectrum: Spectrum, extras: Extras = {}): MatrixFindings {
  const { rows, columns } = spectrum
  const { dtype = 'f32', ...rest } = extras
  const effectiveRank = effectiveRankOf(spectrum)
  return {
    name,
    shape: [rows, columns],
    storedShape: [rows, columns],
    dtype,
    bytes: rows * columns * (dtype === 'f32' ? 4 : 2),
    spectrum,
    rank: numericalRankOf(spectrum),
    spectral: spectralOf(spectrum),
    stableRank: stableRankOf(spectrum),
    ...(effectiveRank !== undefined && { effectiveRank }),
    energyRanks: Object.fromEntries(
      ENERGY_SHARES.map((share) => [share, energyRanks(spectrum, share)]),
    ) as Record<EnergyShare, IntegerRange>,
    ...rest,
  }
}

export function reportOf(name: string, spectrum: Spectrum, extras: Extras = {}): MatrixReport {
  const findings = findingsOf(name, spectrum, extras)
  return { ...findings, verdict: verdictOf(findings) }
}

function costsOf(matrices: readonly MatrixReport[]): RankCost[] {
  const total = matrices.reduce((sum, { spectrum }) => sum + spectrum.frobenius ** 2, 0)
  return TABULATED_RANKS.map((rank) => {
    let [parameters, bytes, least, most] = [0, 0, 0, 0]
    for (const { spectrum, shape, bytes: stored } of matrices) {
      const entries = Math.min(rank, ...shape) * (shape[0] + shape[1])
      parameters += entries
      bytes += (entries * stored) / (shape[0] * shape[1])
      const kept = energyKept(spectrum, rank)
      least += (1 - kept.atMost) * spectrum.frobenius ** 2
      most += (1 - kept.atLeast) * spectrum.frobenius ** 2
    }
    const error = (squared: number) => Math.sqrt(squared / (total || 1))
    return { rank, parameters, bytes, relativeError: { atLeast: error(least), atMost: error(most) } }
  })
}

export function resultOf(
  subject: InspectResult['subject'],
  matrices: readonly MatrixReport[],
  changed: Partial<InspectResult> = {},
): InspectResult {
  const sum = (term: (report: MatrixReport) => number) =>
    matrices.reduce((total, report) => total + term(report), 0)
  return {
    source: { path: 'tuned', ...(subject === 'delta' && { base: 'base' }) },
    subject,
    matrices,
    unchanged: [],
    nonFinite: [],
    skipped: [],
    outputs: {},
    totals: {
      matrices: matrices.length,
      elements: sum(({ shape }) => shape[0] * shape[1]),
      bytes: sum(({ bytes }) => bytes),
      frobenius: Math.sqrt(sum(({ spectrum }) => spectrum.frobenius ** 2)),
      ...(subject === 'delta' && { relativeChange: 0.0421 }),
    },
    costs: costsOf(matrices),
    warnings: [],
    engine: 'wasm',
    seconds: 1.25,
    ...changed,
  }
}

const file = new URL('../../fixtures/inspect/digits-llama.json', import.meta.url)
/** What NumPy's LAPACK says of the deltas of a small Llama. */
export const digitsLlama: Record<string, LlamaDelta> = JSON.parse(readFileSync(file, 'utf8')).tensors

export interface LlamaDelta {
  readonly shape: [number, number]
  readonly delta_singular_values: number[]
  readonly delta_frobenius: number
  readonly delta_matrix_rank_f32: number
  readonly stable_rank: number
  readonly effective_rank: number
  readonly rank_for_energy: Record<EnergyShare, number>
  readonly base_frobenius: number
}

export function digitsResult(): InspectResult {
  const matrices = Object.entries(digitsLlama).map(([name, { shape, base_frobenius, ...delta }]) => {
    const spectrum = wholeSpectrum(...shape, Float64Array.from(delta.delta_singular_values))
    const relativeChange = delta.delta_frobenius / base_frobenius
    const noise = { floor: 2e-6, rankAbove: exactly(Math.min(...shape)), changedShare: 1, isSubUlp: false }
    return reportOf(name, spectrum, {
      base: { dtype: 'f32', frobenius: base_frobenius, relativeChange },
      noise,
    })
  })
  const skipped = [0, 1, 2].flatMap((layer) =>
    ['input', 'post_attention'].map((norm) => ({
      name: `model.layers.${layer}.${norm}_layernorm.weight`,
      reason: 'one-dimensional',
    })),
  )
  return resultOf('delta', matrices, {
    source: { path: 'digits-llama/tuned', base: 'digits-llama/base' },
    skipped: [...skipped, { name: 'model.norm.weight', reason: 'one-dimensional' }],
    recommended: { rank: 32, reason: 'It is the least tabulated rank that keeps 97 % of the change.' },
  })
}

/** i^−power, and the tail under it. */
export const powerLaw = (n: number, power: number, scale = 1, tail = 0) =>
  Float64Array.from({ length: n }, (_, i) => scale * ((i + 1) ** -power + tail))

const SHAPES: [string, number, number][] = [
  ['self_attn.q_proj', 2048, 2048],
  ['self_attn.k_proj', 256, 2048],
  ['self_attn.v_proj', 256, 2048],
  ['self_attn.o_proj', 2048, 2048],
  ['mlp.gate_proj', 5632, 2048],
  ['mlp.up_proj', 5632, 2048],
  ['mlp.down_proj', 2048, 5632],
]

/** The weights of a model of TinyLlama's shapes with the leading 64 singular values of each. */
export function bigResult(layers = 32): InspectResult {
  const matrices = Array.from({ length: layers }, (_, layer) =>
    SHAPES.map(([part, rows, columns], at) => {
      const S = powerLaw(Math.min(rows, columns), 0.2 + at * 0.25 + layer / 100, 40)
      const spectrum = leadingSpectrum(wholeSpectrum(rows, columns, S), 64)
      return reportOf(`model.layers.${layer}.${part}.weight`, spectrum, { dtype: 'bf16' })
    }),
  ).flat()
  return resultOf('weights', matrices, {
    source: { path: 'TinyLlama/TinyLlama-1.1B-Chat-v1.0' },
    recommended: { rank: 128, reason: 'The error falls by less than 1 % for each doubling after it.' },
  })
}

/** An adapter of nominal rank 16 whose modules use fewer, with loaders that disagree. */
export function adapterResult(modules = 12, differ = true): InspectResult {
  const matrices = Array.from({ length: modules }, (_, i) => {
    const rank = 1 + ((i * 5) % 16)
    const S = new Float64Array(16)
    S.set(powerLaw(rank, 1, 0.3))
    const others = differ && i % 3 === 0 ? 1 : 2
    return reportOf(
      `base_model.model.model.layers.${Math.floor(i / 4)}.self_attn.${'qkvo'[i % 4]}_proj`,
      { ...wholeSpectrum(2048, 2048, S), method: 'factors' },
      {
        dtype: 'f16',
        adapter: {
          nominalRank: 16,
          alpha: 32,
          scale: 2,
          wasted: 16 - rank,
          scales: [
            { loader: 'PEFT', scale: 2 },
            { loader: 'vLLM', scale: others },
            { loader: 'llama.cpp', scale: others },
            differ
              ? { loader: 'TensorRT-LLM', refusal: 'does not load rank_pattern together with use_rslora' }
              : { loader: 'TensorRT-LLM', scale: 2 },
            { loader: 'ComfyUI', scale: 2 },
          ],
        },
      },
    )
  })
  return resultOf('adapter', matrices, {
    source: { path: 'my-adapter' },
    warnings: differ
      ? ['vLLM scales 4 of 12 modules by 1 where PEFT scales by 2: alpha_pattern is not read there']
      : [],
  })
}

/** A delta with one of each thing that can be wrong or left out. */
export function mixedResult(): InspectResult {
  const related = { dtype: 'bf16', frobenius: 45, relativeChange: 0.01 }
  const noise = { floor: 0.5, rankAbove: exactly(8), changedShare: 0.93, isSubUlp: false }
  const flat = wholeSpectrum(256, 256, powerLaw(256, 0.05))
  const zeros = wholeSpectrum(64, 64, new Float64Array(64))
  const spiked = wholeSpectrum(256, 1024, powerLaw(256, 1.5, 9, 0.02))
  return resultOf(
    'delta',
    [
      reportOf('model.layers.0.self_attn.q_proj.weight', spiked, { dtype: 'bf16', base: related, noise }),
      reportOf('model.layers.0.self_attn.k_proj.weight', flat, {
        dtype: 'bf16',
        base: related,
        noise: { ...noise, floor: 3, rankAbove: exactly(0), changedShare: 0.02, isSubUlp: true },
      }),
      reportOf('model.layers.0.self_attn.v_proj.weight', flat, {
        base: { ...related, relativeChange: 1.41 },
      }),
      reportOf('model.layers.0.self_attn.o_proj.weight', zeros, { base: { ...related, relativeChange: 0 } }),
      reportOf('model.layers.0.block_sparse_moe.experts.down_proj_with_a_very_long_name.weight[117]', flat, {
        base: { dtype: 'f32', frobenius: 0, relativeChange: Number.POSITIVE_INFINITY },
      }),
    ],
    {
      unchanged: Array.from({ length: 12 }, (_, i) => `model.layers.${i}.mlp.up_proj.weight`),
      nonFinite: [
        {
          name: 'model.layers.3.mlp.down_proj.weight',
          file: 'tuned/model-00002-of-00003.safetensors',
          count: 3,
          first: { row: 17, column: 4, value: 'NaN' },
        },
      ],
      skipped: [
        { name: 'model.norm.weight', reason: 'one-dimensional' },
        { name: 'model.layers.0.input_layernorm.weight', reason: 'one-dimensional' },
        {
          name: 'quantised.weight',
          reason: 'f8 with a scale tensor beside it: its numbers are not those of the weight',
        },
      ],
      warnings: ['the two checkpoints name different architectures in config.json'],
    },
  )
}
