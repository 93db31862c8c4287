import type {
  ExtractedLayer,
  ExtractPreview,
  ExtractResult,
  LeftBecause,
} from '../../../src/commands/extract/result.ts'
import { digitsLlama } from '../inspect/sample-results.ts'

/** Results as `extract` gives them, for the tests of what is printed of them. */

const tail = (S: readonly number[], rank: number) => Math.hypot(...S.slice(rank))
const rootOfSquares = (values: readonly number[]) => Math.hypot(...values)

/** A layer whose best error is known to one part in 5000, and whose factors come within one in 10,000 of it. */
export function layerOf(
  name: string,
  shape: readonly [number, number],
  rank: number,
  best: number,
  changed: Partial<ExtractedLayer> = {},
): ExtractedLayer {
  return {
    name,
    shape,
    dtype: 'f32',
    rank,
    storedRank: rank,
    relativeError: best * 1.0001,
    optimalError: { atLeast: best * 0.9999, atMost: best * 1.0001 },
    frobenius: 1.5,
    relativeChange: 0.0123,
    engine: 'wasm',
    seconds: 0.25,
    ...changed,
  }
}

/** The result that these layers make, with the sums over them. */
export function resultOf(
  layers: readonly ExtractedLayer[],
  changed: Partial<ExtractResult> = {},
): ExtractResult {
  const { notCarried = [], saved = [] } = changed
  const delta = rootOfSquares(layers.map(({ frobenius }) => frobenius))
  const overAll = (error: (layer: ExtractedLayer) => number) =>
    delta === 0 ? 0 : rootOfSquares(layers.map((layer) => error(layer) * layer.frobenius)) / delta
  const relativeError = overAll((layer) => layer.relativeError)
  const left = rootOfSquares(notCarried.map(({ deltaFrobenius = 0 }) => deltaFrobenius))
  const whole = Math.hypot(delta, left, ...saved.map(({ deltaFrobenius }) => deltaFrobenius))
  const parameters = layers.reduce((sum, { shape: [d, k] }) => sum + d * k, 0)
  const adapterParameters = layers.reduce(
    (sum, { shape: [d, k], storedRank }) => sum + storedRank * (d + k),
    0,
  )
  return {
    source: { base: 'models/base', tuned: 'models/tuned' },
    rule: { kind: 'rank', rank: 16 },
    layout: 'portable',
    layers,
    saved,
    unchanged: [],
    notCarried,
    totals: {
      layers: layers.length,
      parameters,
      adapterParameters,
      ratio: parameters === 0 ? 0 : adapterParameters / parameters,
      relativeError,
      wholeRelativeError: whole === 0 ? 0 : Math.hypot(relativeError * delta, left) / whole,
      matched: layers.length + notCarried.length,
      unmatched: 0,
      optimalError: {
        atLeast: overAll(({ optimalError }) => optimalError.atLeast),
        atMost: overAll(({ optimalError }) => optimalError.atMost),
      },
      bytesRead: 8 * parameters,
      bytesWritten: 4 * adapterParameters + 4096,
    },
    broken: [],
    gaps: [],
    holds: true,
    output: {
      path: 'adapters/tuned-r16',
      format: 'peft',
      bytes: 4 * adapterParameters + 4096,
      files: ['adapter_config.json', 'adapter_model.safetensors', 'README.md'],
    },
    resumed: 0,
    warnings: [],
    seconds: 12.5,
    engine: 'wasm',
    ...changed,
  }
}

/** The deltas of a small Llama by NumPy's singular values, at one rank. */
export function digitsLayers(rank: number): ExtractedLayer[] {
  return Object.entries(digitsLlama).map(([name, { shape, delta_singular_values: S, ...delta }]) => {
    const kept = Math.min(rank, delta.delta_matrix_rank_f32)
    const best = tail(S, kept) / delta.delta_frobenius
    return layerOf(name, shape, kept, best, {
      storedRank: rank,
      frobenius: delta.delta_frobenius,
      relativeChange: delta.delta_frobenius / delta.base_frobenius,
      ...(best === 0 && { relativeError: 2.4e-8, optimalError: { atLeast: 0, atMost: 0 } }),
    })
  })
}

const PROJECTIONS = [
  ['self_attn.q_proj', 2048, 2048],
  ['self_attn.k_proj', 256, 2048],
  ['self_attn.v_proj', 256, 2048],
  ['self_attn.o_proj', 2048, 2048],
  ['mlp.gate_proj', 5632, 2048],
  ['mlp.up_proj', 5632, 2048],
  ['mlp.down_proj', 2048, 5632],
] as const

/** A model with so many layers of TinyLlama's shapes; the error of each differs from all others'. */
export function bigLayers(depth: number, rank = 16): ExtractedLayer[] {
  return Array.from({ length: depth }, (_, i) =>
    PROJECTIONS.map(([part, d, k], j) =>
      layerOf(`model.layers.${i}.${part}.weight`, [d, k], rank, 0.2 + 0.1 * j + 0.001 * ((i * 7) % depth), {
        dtype: 'bf16',
      }),
    ),
  ).flat()
}

export const normsLeft: readonly LeftBecause[] = [
  ...Array.from({ length: 24 }, (_, i) => ({
    name: `model.layers.${i}.input_layernorm.weight`,
    because: { kind: 'not-a-matrix' } as const,
    relativeChange: 0.001 * (i + 1),
    deltaFrobenius: 0.01 * (i + 1),
  })),
  { name: 'lm_head.weight', because: { kind: 'grown-vocabulary' } },
  { name: 'value_head.weight', because: { kind: 'missing-in-base' } },
  {
    name: 'model.embed_tokens.weight',
    because: { kind: 'no-module', reason: 'an embedding (--embeddings carries it)' },
    relativeChange: 0.2,
    deltaFrobenius: 1,
  },
  {
    name: 'model.layers.0.bias',
    because: { kind: 'not-a-matrix' },
    notWhole: 'its module gets LoRA factors',
    relativeChange: Number.POSITIVE_INFINITY,
    deltaFrobenius: 0.5,
  },
]

/** All that can be said of an extraction at once. */
export function mixedResult(): ExtractResult {
  const layers = [
    layerOf('model.layers.0.self_attn.q_proj.weight', [2048, 2048], 64, 0.05, { dtype: 'bf16' }),
    layerOf('model.layers.0.mlp.experts.gate_up_proj[3]', [5632, 2048], 7, 0.0999, {
      dtype: 'bf16',
      storedRank: 64,
      relativeError: 0.1021,
    }),
    layerOf('model.layers.1.self_attn.q_proj.weight', [2048, 2048], 3, 0, {
      dtype: 'bf16',
      storedRank: 64,
      relativeError: 0.0021,
      noiseFloor: 0.0031,
    }),
    layerOf('model.layers.1.self_attn.k_proj.weight', [256, 2048], 12, 0.08, {
      dtype: 'bf16',
      optimalError: { atLeast: 0.06, atMost: 0.09 },
      openBecause: 'the singular values fall too slowly for the time that is given to each layer',
    }),
    layerOf('model.layers.1.mlp.up_proj.weight', [5632, 2048], 0, 0, {
      storedRank: 64,
      relativeError: 0,
      frobenius: 0,
      relativeChange: 0,
    }),
    layerOf('model.layers.2.mlp.up_proj.weight', [5632, 2048], 5, 0.01, {
      relativeChange: Number.POSITIVE_INFINITY,
      relativeError: 0.03,
    }),
  ]
  return resultOf(layers, {
    rule: { kind: 'error', error: 0.1 },
    layout: 'pattern',
    saved: [
      { name: 'model.norm.weight', relativeError: 0, deltaFrobenius: 0.25, residualFrobenius: 0 },
      {
        name: 'lm_head.weight',
        relativeError: Number.POSITIVE_INFINITY,
        deltaFrobenius: 0,
        residualFrobenius: 0.1,
      },
    ],
    unchanged: ['model.embed_tokens.weight', 'a', 'b', 'c', 'd'],
    notCarried: normsLeft,
    budget: { bytes: 40 * 2 ** 20, used: 39.5 * 2 ** 20, couldGain: 0.0004 },
    broken: [
      {
        name: 'model.layers.0.mlp.experts.gate_up_proj[3]',
        kind: 'error',
        found: 0.1021,
        allowed: 0.1,
      },
    ],
    holds: false,
    resumed: 2,
    warnings: ['SGLang stacks q/k/v and gate/up and needs one rank in each group, which differ here'],
  })
}

export const previewOf = (
  layers: readonly ExtractedLayer[],
  changed: Partial<ExtractPreview> = {},
): ExtractPreview => ({
  source: { base: 'models/base', tuned: 'models/tuned' },
  rule: { kind: 'rank', rank: 16 },
  layout: 'portable',
  layers: layers.map(({ name, shape, dtype, storedRank }) => ({
    name,
    shape,
    dtype,
    rank: storedRank,
    bytes: 2 * storedRank * (shape[0] + shape[1]),
  })),
  saved: [],
  unchanged: [],
  notCarried: [],
  totals: {
    layers: layers.length,
    parameters: layers.reduce((sum, { shape: [d, k] }) => sum + d * k, 0),
    matched: layers.length,
    unmatched: 0,
  },
  modules: [],
  gaps: [],
  output: {
    ...{ path: 'adapters/tuned-r16', format: 'peft', dtype: 'bf16' },
    ...{ bytes: 12_345_678, free: 5 * 2 ** 30 },
  },
  resumable: 0,
  warnings: [],
  ...changed,
})
