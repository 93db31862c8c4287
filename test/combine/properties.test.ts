import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { merge } from '../../src/commands/merge/merge.ts'
import type { MergeOptions } from '../../src/commands/merge/options.ts'
import { resize } from '../../src/commands/resize/resize.ts'
import type { SafetensorsDtype } from '../../src/formats/safetensors-dtype.ts'
import { type Matrix, matrix } from '../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import { productSvd } from '../../src/linalg/truncation/product-svd.ts'
import { engines, jsEngine } from '../linalg/truncation/engines.ts'
import { elements, type TestTensor } from '../lora/support.ts'
import { numbers } from '../lora/write-support.ts'
import { temporaryFolder } from '../temporary.ts'
import { densesOf, openAdapter, weightedSum, writePeft, writeTensors } from './support.ts'

const folder = temporaryFolder()
let count = 0

/** The weight that a module of the model has: [out, in, …kernel]. */
interface Weight {
  readonly out: number
  readonly columns: number
  readonly kernel: readonly number[]
}

/** How an adapter changes one of them. */
interface Part {
  readonly kind: 'lora' | 'tucker' | 'loha' | 'lokr' | 'lokr whole' | 'none'
  readonly rank: number
  readonly alpha: number
  readonly seed: number
  /** Powers of ten on the two factors. */
  readonly scales: readonly [number, number]
  readonly defect: 'none' | 'zero' | 'padded' | 'equal columns'
}

type Format = 'peft' | 'kohya' | 'comfyui' | 'diffusers'

interface Model {
  readonly format: Format
  readonly weights: readonly Weight[]
}

const weights = fc.array(
  fc.record({
    // products of two, for Kronecker's
    out: fc.integer({ min: 1, max: 4 }).map((n) => 2 * n),
    columns: fc.integer({ min: 1, max: 4 }).map((n) => 2 * n),
    kernel: fc.constantFrom<readonly number[]>([], [], [1, 1], [3, 2]),
  }),
  { minLength: 1, maxLength: 2 },
)
const model: fc.Arbitrary<Model> = fc.record({
  format: fc.constantFrom<Format>('peft', 'kohya', 'comfyui', 'diffusers'),
  weights,
})
const KINDS = ['lora', 'lora', 'tucker', 'loha', 'lokr', 'lokr whole', 'none'] as const
const parts = (most: number) =>
  fc.array(
    fc.record({
      kind: fc.constantFrom<Part['kind']>(...KINDS),
      rank: fc.integer({ min: 1, max: 12 }),
      alpha: fc.constantFrom(0.25, 1, 3, 16),
      seed: fc.nat(1e6),
      scales: fc.tuple(fc.integer({ min: -most, max: most }), fc.integer({ min: -most, max: most })),
      defect: fc.constantFrom<Part['defect']>('none', 'none', 'zero', 'padded', 'equal columns'),
    }),
    { minLength: 2, maxLength: 2 },
  )
const DTYPES = fc.constantFrom<SafetensorsDtype>('F32', 'F32', 'F64', 'BF16')

function filled(
  shape: readonly number[],
  seed: number,
  power: number,
  dtype: SafetensorsDtype,
  defect: Part['defect'] = 'none',
): TestTensor {
  const data = numbers(elements(shape), seed).map((x) => x * 10 ** power)
  const columns = shape[1]
  const inner = elements(shape.slice(2))
  for (let i = 0; i < data.length; i++) {
    const column = Math.floor(i / inner) % columns
    if (defect === 'zero' || (defect === 'padded' && column >= columns / 2)) data[i] = 0
    if (defect === 'equal columns' && column > 0) data[i] = data[i - inner]
  }
  return { shape, dtype, data }
}

/** The tensors of a module by what its names end with. */
function tensorsOf(
  { out, columns, kernel }: Weight,
  { kind, rank: r, seed, scales: [a, b], defect }: Part,
  dtype: SafetensorsDtype,
): Record<string, TestTensor> {
  const of = (shape: readonly number[], at: number, power: number, broken?: Part['defect']) =>
    filled(shape, seed + at, power, dtype, broken)
  const ones = kernel.map(() => 1)
  const size = elements(kernel)
  switch (kind) {
    case 'tucker':
    case 'lora':
      // a core needs a kernel
      return kind === 'tucker' && kernel.length > 0
        ? {
            down: of([r, columns, ...ones], 1, a),
            up: of([out, r, ...ones], 2, b, defect),
            mid: of([r, r, ...kernel], 3, 0),
          }
        : { down: of([r, columns, ...kernel], 1, a), up: of([out, r, ...ones], 2, b, defect) }
    case 'loha':
      return {
        hada_w1_a: of([out, r], 1, a, defect),
        hada_w1_b: of([r, columns * size], 2, 0),
        hada_w2_a: of([out, r], 3, b),
        hada_w2_b: of([r, columns * size], 4, 0),
      }
    case 'lokr':
      return {
        lokr_w1: of([2, 2], 1, a, defect),
        lokr_w2_a: of([out / 2, r], 2, b),
        lokr_w2_b: of([r, (columns / 2) * size], 3, 0),
      }
    case 'lokr whole':
      return { lokr_w1: of([2, 2], 1, a), lokr_w2: of([out / 2, columns / 2, ...kernel], 2, b, defect) }
    case 'none':
      return {}
  }
}

const STEMS: Readonly<Record<Format, (i: number) => string>> = {
  peft: (i) => `base_model.model.blocks.0.m${i}`,
  kohya: (i) => `lora_unet_blocks_0_m${i}`,
  comfyui: (i) => `diffusion_model.blocks.0.m${i}`,
  diffusers: (i) => `transformer.blocks.0.m${i}`,
}
const ENDINGS: Readonly<Record<Format, Readonly<Record<string, string>>>> = {
  peft: { down: 'lora_A.weight', up: 'lora_B.weight' },
  kohya: { down: 'lora_down.weight', up: 'lora_up.weight', mid: 'lora_mid.weight' },
  comfyui: { down: 'lora_A.weight', up: 'lora_B.weight', mid: 'lora_mid.weight' },
  diffusers: { down: 'lora.down.weight', up: 'lora.up.weight', mid: 'lora_mid.weight' },
}

/** Writes an adapter of a model. PEFT's knows LoRA alone, with ranks and alphas by pattern; each module's kernel is told by LoRA alone. */
async function written(
  { format, weights }: Model,
  given: readonly Part[],
  dtype: SafetensorsDtype,
): Promise<string> {
  const tensors: Record<string, TestTensor> = {}
  const ranks: Record<string, number> = {}
  const alphas: Record<string, number> = {}
  for (const [i, weight] of weights.entries()) {
    const isPlain = format === 'peft' || (weight.kernel.length > 0 && given[i].kind !== 'tucker')
    const part = isPlain ? ({ ...given[i], kind: 'lora' } as const) : given[i]
    const stem = STEMS[format](i)
    const all = tensorsOf(weight, part, dtype)
    for (const [role, tensor] of Object.entries(all))
      tensors[`${stem}.${ENDINGS[format][role] ?? role}`] = tensor
    if (Object.keys(all).length === 0) continue
    ranks[`m${i}`] = part.rank
    alphas[`m${i}`] = part.alpha
    if (format !== 'peft') tensors[`${stem}.alpha`] = { shape: [], data: Float64Array.of(part.alpha) }
  }
  if (Object.keys(tensors).length === 0) {
    return written(
      { format, weights },
      given.map((part) => ({ ...part, kind: 'lora' as const })),
      dtype,
    )
  }
  const path = join(folder, `${count++}${format === 'peft' ? '' : '.safetensors'}`)
  if (format !== 'peft') return writeTensors(path, tensors)
  return writePeft(path, tensors, {
    r: 3,
    rank_pattern: ranks,
    alpha_pattern: alphas,
    target_modules: Object.keys(ranks),
  })
}

const out = (like: string) =>
  join(folder, `out-${count++}${like.endsWith('.safetensors') ? '.safetensors' : ''}`)

async function merged(
  adapters: readonly string[],
  options: Omit<Partial<MergeOptions>, 'adapters' | 'dryRun'> = {},
) {
  const path = out(adapters[0])
  const result = await merge({ adapters, out: path, dtype: 'f32', threads: 1, ...options })
  return { path, result, denses: await densesOf(path) }
}

/** ‖a − b‖, relative to a size that isn't a's own where things cancel. */
const apart = (a: ArrayLike<number>, b: ArrayLike<number>, size: number) =>
  Math.hypot(...Array.from(a, (x, i) => (x - b[i]) / (size || 1)))
const sizeOf = (values: Float64Array) => frobeniusNorm(values)

/** Rounding of two factors to float32, with all that a sum of a few entries adds. */
const FLOAT32 = 5e-7
const RUNS = { numRuns: 10 }
/** Extreme, and so that factors and their square roots stay within float32. */
const POWERS = 15

describe('sums of random adapters', () => {
  test('an adapter and its opposite are nothing, and the files load', async () => {
    await fc.assert(
      fc.asyncProperty(model, parts(POWERS), DTYPES, async (given, one, dtype) => {
        const a = await written(given, one, dtype)
        const { path, result, denses } = await merged([a, a], { weights: [3, -3] })
        for (const layer of result.layers)
          expect(layer).toMatchObject({ rank: 0, storedRank: 1, relativeError: 0 })
        for (const dense of denses.values()) expect(dense.every((x) => x === 0)).toBe(true)
        expect([...denses.keys()].sort()).toEqual([...(await densesOf(a)).keys()].sort())
        expect((await openAdapter(path)).ignored).toEqual([])
        expect(result.holds).toBe(true)
      }),
      RUNS,
    )
  })

  test('one alone is itself, and with a weight so much of it', async () => {
    await fc.assert(
      fc.asyncProperty(
        model,
        parts(POWERS),
        DTYPES,
        fc.constantFrom(1, -1, 0.3, -2.5),
        async (given, one, dtype, w) => {
          const a = await written(given, one, dtype)
          const before = await densesOf(a)
          const { denses, result } = await merged([a], { weights: [w] })
          expect([...denses.keys()].sort()).toEqual([...before.keys()].sort())
          for (const [name, dense] of denses) {
            const wanted = weightedSum([w], [before.get(name)!])
            expect(apart(dense, wanted, sizeOf(wanted)), name).toBeLessThan(FLOAT32)
          }
          for (const layer of result.layers) expect(layer.rank).toBe(layer.numericalRank)
        },
      ),
      RUNS,
    )
  })

  test('what almost cancels leaves its difference', async () => {
    await fc.assert(
      fc.asyncProperty(
        model,
        parts(3),
        DTYPES,
        fc.integer({ min: 4, max: 24 }),
        async (given, one, dtype, bits) => {
          const a = await written(given, one, dtype)
          const before = await densesOf(a)
          const { denses, result } = await merged([a, a], { weights: [1, 2 ** -bits - 1] })
          for (const { name } of result.layers) {
            const wanted = before.get(name)!.map((x) => x * 2 ** -bits)
            expect(apart(denses.get(name)!, wanted, sizeOf(wanted)), name).toBeLessThan(FLOAT32)
          }
          if (result.overlap.norm > 0) expect(result.overlap.interference).toBeGreaterThan(0.9)
        },
      ),
      RUNS,
    )
  })

  test('an error or an energy that is asked holds, by the least rank that can', async () => {
    const asked = fc.oneof(
      fc.constantFrom(0.001, 0.1, 0.5, 0.9).map((error) => ({ error })),
      fc.constantFrom(0.2, 0.9, 0.999).map((energy) => ({ energy })),
    )
    // both sides of each matrix are even: a multiple of 2 is always to be had
    const limits = fc.record(
      { minRank: fc.integer({ min: 1, max: 3 }), multipleOf: fc.integer({ min: 1, max: 2 }) },
      { requiredKeys: [] },
    )
    await fc.assert(
      fc.asyncProperty(model, parts(2), asked, limits, async (given, one, rule, more) => {
        const a = await written(given, one, 'F32')
        const path = out(a)
        const { layers, holds } = await resize({
          adapter: a,
          out: path,
          ...rule,
          ...more,
          layout: 'pattern',
          dtype: 'f32',
          threads: 1,
        })
        const { layers: whole } = await resize({
          adapter: a,
          out: out(a),
          rank: 40,
          dtype: 'f32',
          threads: 1,
        })
        const allowed = 'error' in rule ? rule.error : Math.sqrt(1 - rule.energy)
        expect(holds).toBe(true)
        for (const [i, { rank, storedRank, relativeError, numericalRank }] of layers.entries()) {
          expect(relativeError).toBeLessThanOrEqual(allowed)
          expect(numericalRank).toBe(whole[i].numericalRank)
          const { minRank = 1, multipleOf = 1 } = more
          if (rank > 0 && multipleOf > 1 && storedRank % multipleOf !== 0) expect(storedRank).toBe(rank)
          if (numericalRank === 0) expect(rank).toBe(0)
          else if (rank !== numericalRank) expect([rank % multipleOf, rank >= minRank]).toEqual([0, true])
          if (rank <= Math.max(minRank, multipleOf)) continue
          const less = rank === numericalRank ? rank - 1 : rank - multipleOf
          const { layers: cut } = await resize({
            adapter: a,
            out: out(a),
            rank: Math.max(1, less),
            dtype: 'f32',
            threads: 1,
          })
          if (multipleOf === 1) expect(cut[i].optimalError.atMost).toBeGreaterThan(allowed - FLOAT32)
        }
      }),
      RUNS,
    )
  })

  test('the order is all one', async () => {
    await fc.assert(
      fc.asyncProperty(model, parts(3), parts(3), DTYPES, async (given, one, other, dtype) => {
        const [a, b] = [await written(given, one, dtype), await written(given, other, 'F32')]
        const [x, y] = [
          await merged([a, b], { weights: [1, -0.7] }),
          await merged([b, a], { weights: [-0.7, 1] }),
        ]
        const [before, after] = [await densesOf(a), await densesOf(b)]
        expect([...x.denses.keys()].sort()).toEqual([...new Set([...before.keys(), ...after.keys()])].sort())
        for (const [name, dense] of x.denses) {
          const zero = new Float64Array(dense.length)
          const pair = [before.get(name) ?? zero, after.get(name) ?? zero]
          const size = sizeOf(pair[0]) + sizeOf(pair[1])
          expect(apart(dense, y.denses.get(name)!, size), name).toBeLessThan(FLOAT32)
          expect(apart(dense, weightedSum([1, -0.7], pair), size), name).toBeLessThan(FLOAT32)
        }
        const ranks = ({ result }: typeof x) =>
          Object.fromEntries(result.layers.map((layer) => [layer.name, layer.rank]))
        expect(ranks(x)).toEqual(ranks(y))
        expect(x.result.overlap.interference).toBeCloseTo(y.result.overlap.interference, 9)
      }),
      RUNS,
    )
  })

  test('resized to its true rank an adapter is itself; below, error² and what is kept are all', async () => {
    await fc.assert(
      fc.asyncProperty(
        model,
        parts(POWERS),
        DTYPES,
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom('portable' as const, 'pattern' as const),
        async (given, one, dtype, rank, layout) => {
          const a = await written(given, one, dtype)
          const before = await densesOf(a)
          const path = out(a)
          const { layers, totals, output } = await resize({
            adapter: a,
            out: path,
            rank,
            layout,
            dtype: 'f32',
            threads: 1,
          })
          const after = await densesOf(path)
          for (const {
            name,
            rank: found,
            numericalRank,
            relativeError,
            optimalError,
            storedRank,
          } of layers) {
            const [was, is] = [before.get(name)!, after.get(name)!]
            const size = sizeOf(was)
            expect(found).toBe(Math.min(rank, numericalRank))
            expect(storedRank).toBeGreaterThanOrEqual(Math.max(1, found))
            expect(Math.abs(apart(is, was, size) - relativeError)).toBeLessThan(1e-12)
            expect(relativeError).toBeGreaterThanOrEqual(optimalError.atLeast - 1e-12)
            expect(relativeError).toBeLessThan(optimalError.atMost + FLOAT32)
            if (found === numericalRank) expect(relativeError).toBeLessThan(FLOAT32)
            const kept = size === 0 ? 1 : sizeOf(is) / size
            expect(Math.abs(relativeError ** 2 + kept ** 2 - 1)).toBeLessThan(4 * FLOAT32)
          }
          expect(totals.bytes).toBe(output.bytes)
        },
      ),
      RUNS,
    )
  })

  test.each([
    ['bf16', 2 ** -8],
    ['f16', 2 ** -10],
  ] as const)('%s: what is on disk is what was measured, and near the best', async (dtype, rounding) => {
    await fc.assert(
      fc.asyncProperty(
        model,
        parts(1),
        parts(1),
        fc.integer({ min: 1, max: 6 }),
        async (given, one, other, rank) => {
          const paths = [await written(given, one, 'F32'), await written(given, other, 'BF16')]
          const { denses, result } = await merged(paths, { rank, dtype })
          const [a, b] = [await densesOf(paths[0]), await densesOf(paths[1])]
          for (const { name, frobenius, relativeError, optimalError } of result.layers) {
            const zero = new Float64Array(denses.get(name)!.length)
            const wanted = weightedSum([1, 1], [a.get(name) ?? zero, b.get(name) ?? zero])
            const size = sizeOf(a.get(name) ?? zero) + sizeOf(b.get(name) ?? zero)
            if (frobenius === 0) continue
            expect(
              Math.abs((apart(denses.get(name)!, wanted, frobenius) - relativeError) * frobenius),
            ).toBeLessThan(1e-12 * size)
            expect(relativeError).toBeLessThan(optimalError.atMost + 4 * rounding)
          }
        },
      ),
      RUNS,
    )
  })
})

describe.each(engines)('the SVD of a product in float64 (%s)', (_, engine) => {
  const factors = fc.record({
    rows: fc.integer({ min: 1, max: 9 }),
    columns: fc.integer({ min: 1, max: 9 }),
    rank: fc.integer({ min: 1, max: 14 }),
    seed: fc.nat(1e6),
    powers: fc.tuple(fc.integer({ min: -30, max: 30 }), fc.integer({ min: -30, max: 30 })),
    defect: fc.constantFrom<Part['defect']>('none', 'zero', 'padded', 'equal columns'),
  })
  const dense = (B: Matrix, A: Matrix) => jsEngine.multiply(B, A)

  test('values, vectors, and the distance of other factors, as the dense product has them', () => {
    fc.assert(
      fc.property(factors, fc.nat(12), ({ rows, columns, rank, seed, powers: [p, q], defect }, cut) => {
        const B = matrix(rows, rank, filled([rows, rank], seed, p, 'F64', defect).data as Float64Array)
        const A = matrix(rank, columns, filled([rank, columns], seed + 1, q, 'F64').data as Float64Array)
        const W = dense(B, A)
        const svd = productSvd(engine, B, A)
        const { S, frobenius, rounding, distance } = svd
        const reference = jsEngine.svd(W, 'none').S
        const size = reference[0] || 1
        expect(S.length).toBe(Math.min(rows, columns, rank))
        for (const [i, s] of reference.entries()) expect(Math.abs((S[i] ?? 0) - s) / size).toBeLessThan(1e-12)
        expect(Math.abs(frobenius - frobeniusNorm(W.data)) / size).toBeLessThan(1e-12)
        expect(rounding).toBeLessThanOrEqual(1e-11 * 10 ** (p + q))
        const r = Math.min(cut, S.length)
        const made = svd.factors(r)
        const left = frobeniusNorm(weightedSum([1, -1], [W.data, dense(made.B, made.A).data]))
        expect(Math.abs(left - frobeniusNorm(S.subarray(r))) / size).toBeLessThan(1e-12)
        expect(Math.abs(distance(made) - left) / size).toBeLessThan(1e-12)
        // error² and energy kept are all the energy
        const energy = (left / size) ** 2 + (frobeniusNorm(S.subarray(0, r)) / size) ** 2
        expect(Math.abs(energy - (frobenius / size) ** 2)).toBeLessThan(1e-12 * S.length)
        const other = {
          B: matrix(
            rows,
            3,
            numbers(rows * 3, seed + 2).map((x) => x * 10 ** p),
          ),
          A: matrix(
            3,
            columns,
            numbers(columns * 3, seed + 3).map((x) => x * 10 ** q),
          ),
        }
        const far = frobeniusNorm(weightedSum([1, -1], [W.data, dense(other.B, other.A).data]))
        expect(Math.abs(distance(other) / far - 1)).toBeLessThan(1e-12)
      }),
      { numRuns: 100 },
    )
  })
})
