import fc from 'fast-check'
import type { CombinedLayer } from '../../../src/combine/result.ts'
import type { MergeResult } from '../../../src/commands/merge/merge.ts'
import { overlapOf } from '../../../src/commands/merge/overlap.ts'
import type { ResizeResult } from '../../../src/commands/resize/resize.ts'
import type { SummedAs } from '../../../src/convert/sum-as.ts'
import { anyName } from '../extract/any-result.ts'

const anyText = fc.string({ maxLength: 120 })
const anyError = fc.oneof(fc.constantFrom(0, 3e-8, 0.1, 1), fc.double({ min: 0, max: 2, noNaN: true }))
const anyNorm = fc.constantFrom(0, 1e-30, 3.5, 123456, 1e30)
const anyInterval = fc
  .tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1e-14, 0.1))
  .map(([atLeast, width]) => ({ atLeast, atMost: atLeast + width }))

const anyLayer = (inner: fc.Arbitrary<readonly (readonly number[])[]>): fc.Arbitrary<CombinedLayer> =>
  fc.record({
    name: anyName,
    shape: fc.tuple(fc.integer({ min: 1, max: 200_000 }), fc.integer({ min: 1, max: 200_000 })),
    rankBefore: fc.nat(4096),
    numericalRank: fc.nat(4096),
    rank: fc.nat(4096),
    storedRank: fc.nat(4096),
    frobenius: anyNorm,
    relativeError: anyError,
    optimalError: anyInterval,
    inner,
  })

const anyCombined = (inner: fc.Arbitrary<readonly (readonly number[])[]>): fc.Arbitrary<SummedAs> =>
  fc
    .record({
      rule: fc.constantFrom<SummedAs['rule']>(
        { kind: 'rank', rank: 16 },
        { kind: 'error', error: 0.05 },
        { kind: 'energy', energy: 0.99 },
        { kind: 'budget', bytes: 40 * 2 ** 20 },
      ),
      layout: fc.constantFrom('portable' as const, 'pattern' as const),
      format: fc.constantFrom('peft' as const, 'kohya' as const, 'comfyui' as const, 'diffusers' as const),
      dtype: fc.constantFrom('f32', 'bf16'),
      layers: fc.oneof(
        fc.array(anyLayer(inner), { maxLength: 6 }),
        fc.array(anyLayer(inner), { minLength: 60, maxLength: 70 }),
      ),
      kept: fc.array(anyName, { maxLength: 3 }),
      lost: fc.array(fc.record({ path: anyText, name: anyName, reason: anyText }), { maxLength: 3 }),
      totals: fc.record({
        modules: fc.nat(),
        layers: fc.nat(),
        parameters: fc.nat(),
        bytesBefore: fc.nat(),
        bytes: fc.nat(),
        relativeError: anyError,
        optimalError: anyInterval,
      }),
      couldGain: fc.constantFrom(0, 1e-9, 0.5),
      holds: fc.boolean(),
      output: fc.record({
        path: anyText,
        format: fc.constantFrom('peft' as const, 'kohya' as const),
        bytes: fc.nat(),
        files: fc.constant(['adapter_model.safetensors']),
      }),
      gaps: fc.array(
        fc.record({
          loader: fc.constantFrom('diffusers', 'kohya'),
          effect: fc.constantFrom('dropped' as const, 'refused' as const, 'wrong' as const),
          reason: anyText,
          source: anyText,
          modules: fc.array(anyText, { minLength: 1, maxLength: 3 }),
        }),
        { maxLength: 2 },
      ),
      warnings: fc.array(anyText, { maxLength: 2 }),
      engine: fc.constantFrom('wasm', 'js, wasm'),
    })
    .chain((result) =>
      fc.subarray(result.layers.map(({ name }) => name)).map((broken) => ({ ...result, broken })),
    )

export const anyResizeResult: fc.Arbitrary<ResizeResult> = fc
  .tuple(anyCombined(fc.constant([[1]])), anyText, fc.boolean(), fc.double({ min: 0, max: 1e5, noNaN: true }))
  .map(([combined, adapter, isDora, seconds]) => ({ ...combined, source: { adapter }, isDora, seconds }))

/** Inner products of vectors, as every Gram matrix is. */
const anyGram = (count: number) =>
  fc
    .array(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 3, maxLength: 3 }), {
      minLength: count,
      maxLength: count,
    })
    .map((all) => all.map((x) => all.map((y) => x.reduce((sum, value, i) => sum + value * y[i], 0))))

export const anyMergeResult: fc.Arbitrary<MergeResult> = fc.integer({ min: 1, max: 4 }).chain((count) =>
  fc
    .tuple(
      anyCombined(anyGram(count)),
      fc.array(fc.record({ path: anyText, weight: fc.constantFrom(1, -0.30000000000000004, 1e30) }), {
        minLength: count,
        maxLength: count,
      }),
    )
    .map(([combined, adapters]) => ({
      ...combined,
      source: { adapters },
      overlap: overlapOf(
        combined.layers.map(({ inner }) => inner),
        count,
      ),
      seconds: 1.5,
    })),
)
