import fc from 'fast-check'
import type { InspectResult, MatrixReport } from '../../../src/commands/inspect/result.ts'
import {
  adapterResult,
  exactly,
  leadingSpectrum,
  reportOf,
  resultOf,
  wholeSpectrum,
} from './sample-results.ts'

/** Names as checkpoints have them, and as nobody should: long, short, with digits, brackets and controls in them. */
const name = fc.oneof(
  fc
    .tuple(
      fc.nat(120),
      fc.constantFrom('self_attn.q_proj', 'mlp.down_proj', 'x', 'block_sparse_moe.experts.3.w1'),
    )
    .map(([layer, part]) => `model.layers.${layer}.${part}.weight`),
  fc.string({ minLength: 1, maxLength: 90 }),
)

const values = fc
  .array(fc.double({ min: 0, max: 8, noNaN: true }), { minLength: 1, maxLength: 40 })
  .map((exponents) =>
    Float64Array.from(
      exponents.sort((a, b) => a - b),
      (exponent) => 10 ** -exponent,
    ),
  )

const spectrum = fc
  .record({ S: values, zero: fc.nat(9), wide: fc.integer({ min: 1, max: 300 }), given: fc.nat(45) })
  .map(({ S, zero, wide, given }) => {
    const whole = wholeSpectrum(S.length, S.length * wide, zero === 0 ? S.map(() => 0) : S)
    return given > 0 && given < S.length && zero > 0 ? leadingSpectrum(whole, given) : whole
  })

const base = fc.record({
  dtype: fc.constantFrom('f32', 'bf16'),
  frobenius: fc.constantFrom(0, 3.5),
  relativeChange: fc.constantFrom(0, 1e-9, 0.25, 1.41, 12345678, Number.POSITIVE_INFINITY),
})
const noise = fc.record({
  floor: fc.constantFrom(0, 1e-4, 2),
  rankAbove: fc.constantFrom(exactly(0), exactly(3), { atLeast: 1, atMost: 12 }),
  changedShare: fc.constantFrom(0, 0.3, 1),
  isSubUlp: fc.boolean(),
})

export const anyReport: fc.Arbitrary<MatrixReport> = fc
  .record(
    { name, spectrum, base, noise, dtype: fc.constantFrom('f32', 'bf16', 'f8_e4m3') },
    { requiredKeys: ['name', 'spectrum', 'dtype'] },
  )
  .map(({ name, spectrum, ...extras }) => reportOf(name, spectrum, extras))

const someTexts = fc.array(fc.string({ maxLength: 120 }), { maxLength: 6 })

/** Any result, sensible or not, as long as its figures agree. */
export const anyResult: fc.Arbitrary<InspectResult> = fc
  .record({
    subject: fc.constantFrom('weights' as const, 'delta' as const, 'adapter' as const),
    matrices: fc.array(anyReport, { maxLength: 8 }),
    adapter: fc.record({ modules: fc.integer({ min: 1, max: 5 }), differ: fc.boolean() }),
    texts: someTexts,
    unchanged: someTexts,
    isRecommended: fc.boolean(),
  })
  .map(({ subject, matrices, adapter, texts, unchanged, isRecommended }) => {
    const modules = subject === 'adapter' ? adapterResult(adapter.modules, adapter.differ).matrices : matrices
    return resultOf(subject, modules, {
      unchanged,
      warnings: texts,
      skipped: texts.map((reason, i) => ({ name: unchanged[i] ?? 'tensor', reason })),
      nonFinite: texts.map((text) => ({
        name: text,
        file: `${text}.safetensors`,
        count: 1 + text.length,
        first: { row: 1, column: 2, value: 'Infinity' },
      })),
      ...(isRecommended && { recommended: { rank: 16, reason: 'it keeps 99 %' } }),
    })
  })
