import fc from 'fast-check'
import type {
  ExtractedLayer,
  ExtractPreview,
  ExtractResult,
  LeftBecause,
  LeftReason,
} from '../../../src/commands/extract/result.ts'
import { leftText } from '../../../src/commands/extract/sentences.ts'
import type { VerifyResult } from '../../../src/commands/verify/verify.ts'
import type { VerifiedTensor } from '../../../src/measure/measure.ts'
import { layerOf, previewOf, resultOf } from './sample-results.ts'

/** Names as checkpoints have them, and as nobody should: long, short, with digits, brackets and controls in them. */
export const anyName = fc.oneof(
  fc
    .tuple(fc.nat(120), fc.constantFrom('self_attn.q_proj', 'x', 'block_sparse_moe.experts.3.w1'))
    .map(([layer, part]) => `model.layers.${layer}.${part}.weight`),
  fc.string({ minLength: 1, maxLength: 90 }),
)
const anyText = fc.string({ maxLength: 120 })
const anyError = fc.oneof(
  fc.constantFrom(0, 1e-17, 3e-8, 0.1, 0.99999, 1, 1234567, Number.POSITIVE_INFINITY),
  fc.double({ min: 0, max: 2, noNaN: true }),
)
const anySide = fc.integer({ min: 1, max: 200_000 })

export const anyLayer: fc.Arbitrary<ExtractedLayer> = fc
  .record({
    name: anyName,
    shape: fc.tuple(anySide, anySide),
    rank: fc.nat(4096),
    padding: fc.constantFrom(0, 0, 60),
    error: anyError,
    best: fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1e-4, 0.3)),
    extras: fc.record(
      { noiseFloor: fc.constantFrom(0, 1e-4), openBecause: anyText, dtype: fc.constantFrom('bf16', 'f16') },
      { requiredKeys: [] },
    ),
    frobenius: fc.constantFrom(0, 1e-9, 3.5, 123456),
    relativeChange: fc.constantFrom(0, 1e-9, 0.25, 1.41, Number.POSITIVE_INFINITY),
  })
  .map(({ name, shape, rank, padding, error, best: [best, width], extras, ...norms }) =>
    layerOf(name, shape, rank, best, {
      ...extras,
      ...norms,
      storedRank: rank + padding,
      relativeError: error,
      optimalError: { atLeast: best * (1 - width), atMost: best },
    }),
  )

const anyWhole: fc.Arbitrary<VerifiedTensor> = fc.record({
  name: anyName,
  relativeError: anyError,
  deltaFrobenius: fc.constantFrom(0, 2.5),
  residualFrobenius: fc.constantFrom(0, 0.1, Number.POSITIVE_INFINITY),
})

const anyReason: fc.Arbitrary<LeftReason> = fc.oneof(
  fc.constantFrom<LeftReason>(
    { kind: 'no-module', reason: '3-D experts', isOfExperts: true },
    { kind: 'missing-in-tuned' },
    { kind: 'not-understood' },
  ),
  anyText.map((reason) => ({ kind: 'no-module' as const, reason })),
)

export const anyNotCarried: fc.Arbitrary<LeftBecause> = fc.record(
  { name: anyName, because: anyReason, notWhole: anyText, relativeChange: anyError },
  { requiredKeys: ['name', 'because'] },
)

const anyRule: fc.Arbitrary<ExtractResult['rule']> = fc.constantFrom(
  { kind: 'rank', rank: 16 },
  { kind: 'energy', energy: 0.99 },
  { kind: 'error', error: 0.05 },
  { kind: 'budget', bytes: 41_943_040 },
  { kind: 'noise-floor' },
)
const someOf = <T>(one: fc.Arbitrary<T>, most = 6) => fc.array(one, { maxLength: most })
const anyLayers = fc.oneof(
  someOf(anyLayer),
  // so many that they aren't listed one by one
  fc
    .tuple(fc.array(anyLayer, { minLength: 1, maxLength: 5 }), fc.integer({ min: 41, max: 60 }))
    .map(([layers, count]) =>
      Array.from({ length: count }, (_, i) => ({
        ...layers[i % layers.length],
        name: `${i}.${layers[i % layers.length].name}`,
      })),
    ),
)

/** Any result, sensible or not. */
export const anyExtractResult: fc.Arbitrary<ExtractResult> = fc
  .record({
    layers: anyLayers,
    rule: anyRule,
    saved: someOf(anyWhole),
    notCarried: someOf(anyNotCarried),
    texts: someOf(anyText),
    broken: someOf(
      fc.record({
        kind: fc.constant('not-loaded' as const),
        loaders: fc.constant(['PEFT'] as const),
        reason: anyText,
        modules: fc.array(anyName, { minLength: 1, maxLength: 2 }),
      }),
      14,
    ),
    budget: fc.option(
      fc.record({
        bytes: fc.constant(4e7),
        used: fc.nat(40_000_000),
        couldGain: fc.constantFrom(0, 1e-9, 0.2),
      }),
    ),
    resumed: fc.nat(2),
  })
  .map(({ layers, texts, broken, budget, ...rest }) =>
    resultOf(layers, {
      ...rest,
      unchanged: texts,
      warnings: texts,
      broken,
      holds: broken.length === 0,
      ...(budget !== null && { budget }),
    }),
  )

export const anyPreview: fc.Arbitrary<ExtractPreview> = fc
  .record({
    layers: anyLayers,
    rule: anyRule,
    isKnown: fc.boolean(),
    notCarried: someOf(anyNotCarried),
    texts: someOf(anyText),
    free: fc.constantFrom(0, 1e12),
    saved: someOf(fc.record({ name: anyName, bytes: fc.nat() })),
    resumable: fc.nat(3),
  })
  .map(({ layers, isKnown, notCarried, texts, free, ...rest }) => {
    const preview = previewOf(layers, {
      ...rest,
      notCarried,
      unchanged: texts,
      warnings: texts,
    })
    const { bytes, ...output } = preview.output
    if (isKnown) return { ...preview, output: { ...output, bytes: bytes!, free } }
    const unknown = preview.layers.map(({ name, shape, dtype }) => ({ name, shape, dtype }))
    return { ...preview, layers: unknown, output: { ...output, free } }
  })

export const anyVerifyResult: fc.Arbitrary<VerifyResult> = fc
  .tuple(anyExtractResult, fc.constantFrom(undefined, 0, 0.1, 3), fc.constantFrom(1, 0.5, -2, 1e-9))
  .map(([{ layers, saved, notCarried, unchanged, warnings, totals }, maxError, scale]) => {
    const carried = [...layers, ...saved]
    const most = Math.max(...carried.map(({ relativeError }) => relativeError))
    const worst = carried.find(({ relativeError }) => relativeError === most)
    return {
      source: { adapter: 'adapters/tuned-r16', base: 'models/base', tuned: 'models/tuned' },
      layers: layers.map(({ name, shape, storedRank, frobenius, relativeError }) => ({
        name,
        shape,
        rank: storedRank,
        scale,
        deltaFrobenius: frobenius,
        residualFrobenius: relativeError === Number.POSITIVE_INFINITY ? 1 : relativeError * frobenius,
        baseFrobenius: 40,
        relativeError,
      })),
      replaced: saved,
      notCarried: notCarried.map((left) => ({ ...left, reason: leftText(left) })),
      unchanged,
      notLoaded: warnings.map((reason) => ({
        loaders: ['PEFT', 'vLLM'] as const,
        reason,
        modules: unchanged.length > 0 ? unchanged : ['fc'],
      })),
      ...(worst !== undefined && { worst: { name: worst.name, relativeError: worst.relativeError } }),
      totals: {
        relativeError: totals.relativeError,
        wholeRelativeError: totals.wholeRelativeError,
        matched: totals.matched,
        unmatched: totals.unmatched,
      },
      ...(maxError !== undefined && { maxError }),
      holds: maxError === undefined || worst === undefined || most <= maxError,
      warnings,
      seconds: 2,
    }
  })
