import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createWasmEngine } from '../../../src/engine/wasm/wasm-engine.ts'
import {
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
  transpose,
  zeros,
} from '../../../src/linalg/matrix/matrix.ts'
import { chooseRank, type RankLimits, type RankRule } from '../../../src/linalg/spectrum/rules.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import type { TruncationOptions } from '../../../src/linalg/truncation/truncated-svd.ts'
import { truncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { engines, jsEngine, wasmEngine } from './engines.ts'
import { asBfloat16, expectSound, gaussian, optimum, withSpectrum } from './support.ts'

const geometric = (n: number, ratio: number) => Array.from({ length: n }, (_, i) => ratio ** i)
/** The iteration even where the full SVD would be taken. */
const iterate = { largestShare: 20 } as const

describe.each(engines)('%s engine', (_, engine) => {
  test.each([
    [120, 80, 'f32'],
    [80, 120, 'f32'],
    [100, 100, 'f64'],
    [70, 300, 'f64'],
  ] as const)('%i × %i %s', (m, n, type) => {
    const wide = withSpectrum(m, n, geometric(Math.min(m, n), 0.8), m)
    const A = type === 'f32' ? toFloat32(wide) : wide
    const result = truncatedSvd(A, { kind: 'rank', rank: 6 }, { engine, ...iterate })
    expect(result.method).toBe('krylov')
    expect(result.certificate.closed).toBe(true)
    expectSound(toFloat64(A), result, engine.svd(A, 'thin'))
  })

  test('a rank that is a large share of the order goes to the full SVD', () => {
    const A = gaussian(90, 70, 2)
    const result = truncatedSvd(A, { kind: 'rank', rank: 40 }, { engine })
    expect(result.method).toBe('full')
    expectSound(A, result, engine.svd(A, 'thin'))
  })
})

test('a norm that is known is not computed again', () => {
  const A = toFloat32(withSpectrum(200, 150, geometric(150, 0.9), 5))
  const norm = Math.sqrt(jsEngine.resident(A).frobeniusSquared())
  const engine = {
    ...jsEngine,
    resident: (held: Parameters<typeof jsEngine.resident>[0]) => ({
      ...jsEngine.resident(held),
      frobeniusSquared: (): number => {
        throw new Error('sums squares')
      },
    }),
  }
  const options = { ...iterate, goal: 0.05 }
  const result = truncatedSvd(A, { kind: 'rank', rank: 9 }, { ...options, engine, frobenius: norm })
  expect(result).toEqual(truncatedSvd(A, { kind: 'rank', rank: 9 }, { ...options, engine: jsEngine }))
  expect(result.frobenius).toBe(norm)
})

describe('rank rules choose what all singular values would choose', () => {
  const spectra = [
    ['geometric', geometric(150, 0.85)],
    ['1/i', Array.from({ length: 150 }, (_, i) => 1 / (i + 1))],
    ['steps of equal values', Array.from({ length: 150 }, (_, i) => 0.3 ** Math.floor(i / 5))],
  ] as const
  const rules: readonly RankRule[] = [
    { kind: 'energy', energy: 0.5 },
    { kind: 'energy', energy: 0.9 },
    { kind: 'energy', energy: 0.99 },
    { kind: 'energy', energy: 0.9999 },
    { kind: 'error', error: 0.3 },
    { kind: 'error', error: 0.05 },
    { kind: 'error', error: 1e-3 },
    { kind: 'rank', rank: 7 },
  ]
  const limits: readonly RankLimits[] = [{}, { multipleOf: 4 }, { maxRank: 5 }, { minRank: 9, multipleOf: 8 }]

  test.each(spectra)('%s', (_, spectrum) => {
    const A = toFloat32(withSpectrum(200, 150, spectrum, 21))
    const { S } = wasmEngine.svd(A, 'none')
    for (const rule of rules) {
      for (const limit of limits) {
        const result = truncatedSvd(A, rule, { engine: wasmEngine, limits: limit })
        expect([rule, limit, result.rank]).toEqual([rule, limit, chooseRank(S, rule, limit)])
      }
    }
  })

  test('a rule that needs nearly all of a flat spectrum is left to the full SVD', () => {
    const A = gaussian(120, 100, 4)
    const rule = { kind: 'energy', energy: 0.95 } as const
    const result = truncatedSvd(A, rule, { engine: wasmEngine })
    expect(result.method).toBe('full')
    expect(result.rank).toBe(chooseRank(wasmEngine.svd(A, 'none').S, rule))
  })

  test('most need the iteration only', () => {
    const A = toFloat32(withSpectrum(300, 300, geometric(300, 0.8), 2))
    for (const rule of rules) expect(truncatedSvd(A, rule, { engine: wasmEngine }).method).toBe('krylov')
  })
})

test('a tie of equal singular values takes no rank more, on every route', () => {
  for (const [n, store] of [
    [60, toFloat64],
    [140, toFloat64],
    [200, toFloat32],
  ] as const) {
    // a permutation with signs, which float32 holds exactly; the first is only orthogonal to rounding
    const Q = zeros(n, n)
    for (let i = 0; i < n; i++) Q.data[i * n + ((11 * i + 3) % n)] = i % 3 === 0 ? -1 : 1
    for (const A of [store(Q), ...(n === 140 ? [wasmEngine.qr(gaussian(n, n, 3)).Q] : [])]) {
      for (const k of [1, 7, n / 4, n / 2, n - 1].map(Math.floor)) {
        const rules = [
          { kind: 'energy', energy: k / n },
          { kind: 'error', error: Math.sqrt(1 - k / n) },
        ] as const
        for (const rule of rules) {
          for (const certify of ['default', 'none'] as const) {
            expect([n, k, truncatedSvd(A, rule, { engine: wasmEngine, certify }).rank]).toEqual([n, k, k])
          }
        }
      }
    }
  }
})

test('without a certificate the rank is that of all singular values where the estimate decides it', () => {
  for (const power of [0.5, 0.9]) {
    const A = withSpectrum(
      400,
      350,
      Array.from({ length: 350 }, (_, i) => (i + 1) ** -power),
      3,
    )
    for (const stored of [A, toFloat32(A)]) {
      const { S } = wasmEngine.svd(stored, 'none')
      for (const energy of [0.58, 0.62, 0.66, 0.7, 0.98]) {
        const rule = { kind: 'energy', energy } as const
        const result = truncatedSvd(stored, rule, { engine: wasmEngine, certify: 'none' })
        expect([power, energy, result.rank]).toEqual([power, energy, chooseRank(S, rule)])
      }
    }
  }
})

describe('degenerate matrices', () => {
  const cases: readonly (readonly [string, Matrix, number])[] = [
    ['zero', zeros(90, 80), 3],
    ['zero, float32', matrix(80, 90, new Float32Array(7200)), 3],
    ['identity', withSpectrum(100, 100, new Float64Array(100).fill(1), 1), 5],
    ['orthogonal', wasmEngine.qr(gaussian(120, 90, 3)).Q, 20],
    ['rank 1', withSpectrum(100, 90, geometric(90, 0), 5), 4],
    [
      'rank 5 at 5',
      withSpectrum(
        100,
        90,
        Array.from({ length: 90 }, (_, i) => (i < 5 ? 5 - i : 0)),
        5,
      ),
      5,
    ],
    [
      'rank 5 at 12',
      withSpectrum(
        100,
        90,
        Array.from({ length: 90 }, (_, i) => (i < 5 ? 5 - i : 0)),
        5,
      ),
      12,
    ],
    [
      'one value 30 times',
      withSpectrum(
        90,
        90,
        Array.from({ length: 90 }, (_, i) => (i < 30 ? 2 : 0.1)),
        6,
      ),
      10,
    ],
    ['all ones', matrix(100, 70, new Float64Array(7000).fill(1)), 2],
    ['one row', gaussian(1, 300, 7), 1],
    ['one column', gaussian(300, 1, 8), 1],
    ['rank = order', gaussian(80, 70, 9), 70],
    ['rank above the order', gaussian(80, 70, 9), 75],
    ['one entry', matrix(1, 1, Float64Array.of(-3)), 1],
    ['one nonzero row', matrix(90, 90, new Float64Array(8100).fill(2, 900, 990)), 3],
  ]

  test.each(cases)('%s', (_, A, rank) => {
    for (const options of [{}, iterate]) {
      const result = truncatedSvd(A, { kind: 'rank', rank }, { engine: wasmEngine, ...options })
      expectSound(toFloat64(A), result, wasmEngine.svd(A, 'thin'))
      expect(result.rank).toBe(Math.min(rank, A.rows, A.columns))
    }
  })

  test('equal entries, whose rounding is aligned with the only direction there is, for any seed', () => {
    const A = matrix(100, 70, new Float64Array(7000).fill(1))
    const full = wasmEngine.svd(A, 'thin')
    for (let seed = 0; seed < 10; seed++) {
      for (const rank of [1, 2, 8]) {
        const result = truncatedSvd(A, { kind: 'rank', rank }, { engine: wasmEngine, seed, ...iterate })
        expectSound(A, result, full)
        expect(result.S[0]).toBeCloseTo(Math.sqrt(7000), 11)
      }
    }
  })

  test('a zero matrix has no relative error and the least rank for any rule', () => {
    const result = truncatedSvd(zeros(100, 90), { kind: 'energy', energy: 0.9 }, { engine: wasmEngine })
    expect(result).toMatchObject({ rank: 1, frobenius: 0, optimalError: { atLeast: 0, atMost: 0 } })
    expect(result.certificate).toMatchObject({ closed: true, belowRounding: true })
  })

  test('an empty matrix has rank 0', () => {
    expect(truncatedSvd(zeros(0, 5), { kind: 'rank', rank: 2 }, { engine: wasmEngine }).rank).toBe(0)
  })

  test('what is not finite is refused', () => {
    const A = gaussian(100, 90, 1)
    A.data[1234] = Number.NaN
    const run = () => truncatedSvd(A, { kind: 'rank', rank: 3 }, { engine: wasmEngine })
    expect(run).toThrow(/100×90 matrix holds NaN at row 13, column 64/)
  })
})

describe('size of the entries', () => {
  test.each([
    ['f64', 900],
    ['f64', -900],
    ['f32', 100],
    ['f32', -100],
  ] as const)('%s times 2^%i: the same vectors, S scaled exactly', (type, exponent) => {
    const store = type === 'f32' ? toFloat32 : (A: Matrix) => A
    const A = store(withSpectrum(100, 90, geometric(90, 0.8), 3))
    const B = { ...A, data: A.data.map((x: number) => x * 2 ** exponent) } as Matrix
    const rule = { kind: 'rank', rank: 5 } as const
    const [a, b] = [A, B].map((X) => truncatedSvd(X, rule, { engine: wasmEngine, ...iterate }))
    expect(b.method).toBe('krylov')
    expect(b.S).toEqual(a.S.map((s) => s * 2 ** exponent))
    expect(b.U).toEqual(a.U)
    expect(b.V).toEqual(a.V)
    expect(b.optimalError).toEqual(a.optimalError)
    expect(b.certificate.spectral.atMost).toBe(a.certificate.spectral.atMost * 2 ** exponent)
  })
})

describe('determinism', () => {
  const A = toFloat32(withSpectrum(150, 120, geometric(120, 0.9), 4))
  const run = (options: Partial<TruncationOptions>) =>
    truncatedSvd(A, { kind: 'rank', rank: 8 }, { engine: wasmEngine, ...iterate, ...options })

  test('same seed and name, same bits', () => {
    expect(run({ seed: 7, name: 'layer.0' })).toEqual(run({ seed: 7n, name: 'layer.0' }))
  })

  test('any number of threads, same bits', () => {
    const engine = createWasmEngine({ threads: 2 })
    const wide = toFloat32(withSpectrum(200, 700, geometric(200, 0.95), 6))
    const results = [wasmEngine, engine].map((engine) =>
      truncatedSvd(wide, { kind: 'error', error: 0.2 }, { engine }),
    )
    engine.close()
    expect(results[0].method).toBe('krylov')
    expect(results[1]).toEqual(results[0])
  })

  test('seed and name both make a different start', () => {
    const V = run({ seed: 7, name: 'a' }).V.data
    expect(run({ seed: 8, name: 'a' }).V.data).not.toEqual(V)
    expect(run({ seed: 7, name: 'b' }).V.data).not.toEqual(V)
  })

  test('a transposed matrix exchanges U and V up to rounding', () => {
    const a = run({ goal: 1e-6 })
    const b = truncatedSvd(
      transpose(A),
      { kind: 'rank', rank: 8 },
      { engine: wasmEngine, ...iterate, goal: 1e-6 },
    )
    b.S.forEach((s, i) => {
      expect(s).toBeCloseTo(a.S[i], 6)
    })
  })
})

describe('a noise floor', () => {
  const [m, n] = [360, 300]
  /** Values of `signal` beside noise whose largest singular value is about 1. */
  const noisy = (signal: readonly number[], scale = 1) => {
    const noise = gaussian(m, n, 21).data
    const A = withSpectrum(
      m,
      n,
      Float64Array.from({ length: n }, (_, i) => signal[i] ?? 0),
      22,
    ).data
    return matrix(
      m,
      n,
      A.map((x, i) => scale * (x + noise[i] / (Math.sqrt(m) + Math.sqrt(n)))),
    )
  }

  test.each([
    ['default', 2 ** -70],
    ['default', 1],
    ['strict', 1],
    ['none', 1],
  ] as const)('keeps what is above it and closes without the full SVD: %s, scale %d', (certify, scale) => {
    const A = toFloat32(noisy([9, 5, 4, 3, 2, 1.8], scale))
    const rule = { kind: 'noise-floor', floor: 1.25 * scale } as const
    const result = truncatedSvd(A, rule, { engine: wasmEngine, certify, goal: 0.1, ...iterate })
    expect(result).toMatchObject({ rank: 6, method: 'krylov' })
    expect(result.certificate.closed).toBe(certify !== 'none')
    if (scale === 1) expectSound(toFloat64(A), result, wasmEngine.svd(toFloat64(A), 'thin'))
  })

  test('keeps nothing of noise alone where the least rank is 0, else one', () => {
    const A = toFloat32(noisy([]))
    const rule = { kind: 'noise-floor', floor: 1.25 } as const
    for (const minRank of [0, 1]) {
      for (const options of [{}, iterate]) {
        const result = truncatedSvd(A, rule, {
          engine: wasmEngine,
          limits: { minRank },
          goal: 0.1,
          ...options,
        })
        expect(result.rank).toBe(minRank)
        expectSound(toFloat64(A), result, wasmEngine.svd(toFloat64(A), 'thin'))
      }
    }
  })
})

test('bfloat16 data give what their float32 values give', () => {
  const A = toFloat32(withSpectrum(150, 120, geometric(120, 0.8), 8))
  const half = asBfloat16(A)
  const widened = matrix(150, 120, new Float32Array(Uint32Array.from(half.data, (x) => x << 16).buffer))
  const rule = { kind: 'rank', rank: 8 } as const
  const result = truncatedSvd(half, rule, { engine: wasmEngine })
  expectSound(toFloat64(widened), result, wasmEngine.svd(widened, 'thin'))
  expect(result.S).toEqual(truncatedSvd(widened, rule, { engine: wasmEngine }).S)
})

describe('certificates', () => {
  const A = toFloat32(
    withSpectrum(
      200,
      150,
      Array.from({ length: 150 }, (_, i) => (i + 1) ** -0.7),
      8,
    ),
  )
  const full = wasmEngine.svd(A, 'thin')
  const rule = { kind: 'rank', rank: 10 } as const

  test('strict ones are deterministic', () => {
    const result = truncatedSvd(A, rule, { ...iterate, engine: wasmEngine, certify: 'strict' })
    expectSound(toFloat64(A), result, full)
    expect(result).toMatchObject({
      method: 'krylov',
      certificate: { kind: 'deterministic', failureProbability: 0, closed: true },
    })
  })

  test('the default one states its failure probability', () => {
    const result = truncatedSvd(A, rule, { ...iterate, engine: wasmEngine })
    expect(result.certificate).toMatchObject({
      kind: 'probabilistic',
      failureProbability: 1e-9,
      closed: true,
    })
  })

  test('one that is not asked for leaves the lower end open, and the factors are as good as the goal', () => {
    const result = truncatedSvd(A, rule, { ...iterate, engine: wasmEngine, certify: 'none' })
    expectSound(toFloat64(A), result, full)
    expect(result.optimalError.atLeast).toBe(0)
    expect(result.optimalError.atMost).toBeLessThan(1.01 * optimum(full, 10))
    expect(result.certificate).toMatchObject({ kind: 'none', closed: false })
  })
})

describe('rounding in float32 keeps no interval open that float64 closes', () => {
  const [m, n] = [450, 300]
  test.each([
    ['i^-2', 24, (i: number) => (i + 1) ** -2],
    ['geometric above a floor', 40, (i: number) => Math.max(0.6 ** i, 1e-3)],
    ['ten equal values far above the rest', 24, (i: number) => (i < 10 ? 1 : 3e-3 * (i - 9) ** -0.3)],
  ] as const)('%s, rank %i', (_, rank, value) => {
    const wide = withSpectrum(
      m,
      n,
      Array.from({ length: n }, (_, i) => value(i)),
      3,
    )
    const options = { engine: wasmEngine, ...iterate, largestShare: 0.9 }
    expect(truncatedSvd(wide, { kind: 'rank', rank }, options).certificate.closed).toBe(true)
    const A = toFloat32(wide)
    const result = truncatedSvd(A, { kind: 'rank', rank }, options)
    expect(result).toMatchObject({ method: 'krylov', certificate: { closed: true } })
    expectSound(toFloat64(A), result, wasmEngine.svd(A, 'thin'))
  })
})

test('directions that a block holds only a millionth of are not left out of the residuals', () => {
  for (const ratio of [0.2, 0.25, 0.3, 0.31, 0.32, 0.35]) {
    const A = toFloat32(withSpectrum(25, 25, geometric(25, ratio), 0))
    const options = { engine: jsEngine, certify: 'strict', ...iterate } as const
    expectSound(toFloat64(A), truncatedSvd(A, { kind: 'rank', rank: 4 }, options), jacobiSvd(A))
  }
})

test('the interval holds the optimum on random matrices of every kind', () => {
  const spectrum = fc.oneof(
    fc.double({ min: 0.3, max: 1, noNaN: true }).map((ratio) => (i: number) => ratio ** i),
    fc.double({ min: 0.1, max: 3, noNaN: true }).map((power) => (i: number) => (i + 1) ** -power),
    fc
      .record({ rank: fc.integer({ min: 0, max: 12 }), floor: fc.constantFrom(0, 1e-9, 1e-6, 1e-3, 0.1) })
      .map(
        ({ rank, floor }) =>
          (i: number) =>
            i < rank ? 1 : floor,
      ),
  )
  let iterated = 0
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 40 }),
      fc.integer({ min: 2, max: 40 }),
      spectrum,
      fc.integer({ min: 1, max: 20 }),
      fc.nat(1000),
      fc.constantFrom('f32', 'f64'),
      fc.constantFrom('default', 'strict', 'none'),
      (m, n, s, rank, seed, type, certify) => {
        const order = Math.min(m, n)
        const wide = withSpectrum(
          m,
          n,
          Array.from({ length: order }, (_, i) => s(i)),
          seed,
        )
        const A = type === 'f32' ? toFloat32(wide) : wide
        const options = { engine: jsEngine, seed, certify, ...iterate } as const
        const result = truncatedSvd(A, { kind: 'rank', rank }, options)
        if (result.method === 'krylov') iterated++
        expectSound(toFloat64(A), result, jacobiSvd(A))
      },
    ),
    { numRuns: 300 },
  )
  expect(iterated).toBeGreaterThan(180)
})
