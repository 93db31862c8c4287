import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { type Float64Matrix, matrix, toFloat32, transpose } from '../../../src/linalg/matrix/matrix.ts'
import {
  countIntruders,
  INTRUDER_COSINE,
  type Intrusion,
  intrusionOf,
} from '../../../src/linalg/subspace/intruders.ts'
import { largestParts } from '../../../src/linalg/subspace/largest-part.ts'
import { shortSideOperator } from '../../../src/linalg/truncation/krylov.ts'
import { wasmEngine as wasm } from '../truncation/engines.ts'
import { normal, orthonormal, times } from './planted.ts'

interface Case {
  readonly rows: number
  readonly columns: number
  readonly leading: number
  readonly kind: 'new' | 'along'
  readonly scale: number
  readonly spectral: number
  readonly dominance: number
  readonly cosines: readonly number[]
}

const { cases } = JSON.parse(
  readFileSync(new URL('../../fixtures/intruders.json', import.meta.url), 'utf8'),
) as { readonly cases: readonly Case[] }

/** The numbers of scripts/golden-intruders.py. */
function ramp(rows: number, columns: number, seed: number): Float64Matrix {
  const data = Float64Array.from({ length: rows * columns }, (_, i) => {
    const hashed = (Math.imul(i, 2654435761) + seed * 40503) >>> 0
    const mixed = Math.imul(hashed ^ (hashed >>> 15), 2246822519) >>> 0
    return (((mixed >>> 11) % 128) - 63.5) / 64
  })
  return matrix(rows, columns, data)
}

const firstRows = (A: Float64Matrix, count: number) =>
  matrix(count, A.columns, A.data.slice(0, count * A.columns))

function weightAndChange({ rows, columns, leading, kind, scale }: Case) {
  const [left, right] = [ramp(rows, leading, 2), ramp(leading, columns, 3)]
  const sized = matrix(
    rows,
    leading,
    left.data.map((x, at) => x * 0.8 ** (at % leading)),
  )
  const low = times(sized, right)
  const W = matrix(
    rows,
    columns,
    ramp(rows, columns, 1).data.map((x, at) => x / 32 + low.data[at] / 16),
  )
  const B = kind === 'new' ? ramp(rows, 3, 5) : transpose(firstRows(transpose(left), 3))
  const A = kind === 'new' ? ramp(3, columns, 6) : firstRows(right, 3)
  return { W, change: { B, A, scale } }
}

const how = { engine: jsEngine, full: false, directions: true, seed: 0n, name: 'w' }
const ROUNDING = 1e-6

function expectTrue({ cosines, spectral }: Intrusion, truth: Case): void {
  expect(cosines.length).toBe(truth.cosines.length)
  for (const [j, { atLeast, atMost }] of cosines.entries()) {
    expect(atLeast).toBeLessThanOrEqual(truth.cosines[j] + ROUNDING)
    expect(atMost).toBeGreaterThanOrEqual(truth.cosines[j] - ROUNDING)
  }
  expect(spectral.atLeast).toBeLessThanOrEqual(truth.spectral * (1 + ROUNDING))
  expect(spectral.atMost).toBeGreaterThanOrEqual(truth.spectral * (1 - ROUNDING))
}

const intrudersOf = ({ cosines }: Case) => cosines.filter((cosine) => cosine < INTRUDER_COSINE).length

describe('the directions that a change brings', () => {
  test.for(cases)('$rows × $columns, $kind, scale $scale: as NumPy’s full SVD has them', (one) => {
    const { W, change } = weightAndChange(one)
    // the large ones, of which not all is computed, in float32 as weights are
    for (const kept of one.rows > 256 ? [toFloat32(W)] : [W, toFloat32(W)]) {
      const found = intrusionOf(kept, change, { ...how, engine: wasm })
      expectTrue(found, one)
      const { intruders, undecided } = countIntruders(found.cosines)
      expect(intruders).toBeLessThanOrEqual(intrudersOf(one))
      expect(intruders + undecided).toBeGreaterThanOrEqual(intrudersOf(one))
      // of these only where the weight is taller than wide a part of each vector is no combination of the weight's
      const isTall = one.rows > one.columns && one.rows > 256
      expect(undecided).toBeLessThanOrEqual(isTall ? 3 : 0)
    }
  })

  test('all of both are computed where that is asked for, and nothing is left open', () => {
    const tall = cases.find(({ rows, columns, scale }) => rows === 420 && columns === 280 && scale === 1)!
    const { W, change } = weightAndChange(tall)
    const found = intrusionOf(W, change, { ...how, full: true })
    expect(countIntruders(found.cosines)).toEqual({ intruders: intrudersOf(tall), undecided: 0 })
    for (const [j, { atLeast, atMost }] of found.cosines.entries()) {
      expect(atMost - atLeast).toBeLessThan(1e-4)
      expect(Math.abs(atLeast - tall.cosines[j])).toBeLessThan(1e-4)
    }
  })

  test('a change of nothing brings none, also where the weight’s own vectors can’t be told apart', () => {
    const zero = { B: matrix(300, 2, new Float64Array(600)), A: normal(2, 300, 1), scale: 0 }
    const Q = orthonormal(300, 300, 2)
    for (const W of [Q, normal(300, 300, 3), matrix(300, 300, new Float64Array(90000))]) {
      const { cosines } = intrusionOf(W, zero, how)
      expect(countIntruders(cosines)).toEqual({ intruders: 0, undecided: 0 })
    }
  })

  test('vectors that lie too close to others are undecided, not guessed', () => {
    // all singular values of W are 1: NumPy gives some vectors, of infinitely many
    const change = { B: normal(40, 1, 4), A: normal(1, 40, 5), scale: 1e-9 }
    const { cosines } = intrusionOf(orthonormal(40, 40, 2), change, how)
    expect(countIntruders(cosines)).toEqual({ intruders: 0, undecided: 10 })
  })

  test('properties: intervals within 0 and 1, in order, whatever the scale of both', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: -300, max: 300 }),
        fc.integer({ min: 0, max: 2 ** 20 }),
        (rows, columns, rank, exponent, seed) => {
          const W = normal(rows, columns, seed)
          const [B, A] = [normal(rows, rank, seed + 1), normal(rank, columns, seed + 2)]
          const found = intrusionOf(W, { B, A, scale: 0.5 }, how)
          expect(found.cosines.length).toBe(Math.min(10, rows, columns))
          for (const { atLeast, atMost } of found.cosines) {
            expect(0 <= atLeast && atLeast <= atMost && atMost <= 1).toBe(true)
          }
          const scaled = { ...W, data: W.data.map((x) => x * 2 ** exponent) }
          const far = intrusionOf(scaled, { B, A, scale: 0.5 * 2 ** exponent }, how)
          expect(countIntruders(far.cosines)).toEqual(countIntruders(found.cosines))
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('how much of a vector lies in one singular vector', () => {
  const count = 60
  const U = orthonormal(count, count, 7)
  const operatorOf = (values: (i: number) => number) => {
    const scaled = U.data.map((x, at) => x * values(at % count))
    return shortSideOperator(jsEngine, times(matrix(count, count, scaled), orthonormal(count, count, 8)))
  }
  /** Σ parts[i]·u_i. */
  const vector = (parts: (i: number) => number) => {
    const c = Float64Array.from({ length: count }, (_, i) => parts(i))
    const norm = Math.hypot(...c)
    return times(
      U,
      matrix(
        count,
        1,
        c.map((x) => x / norm),
      ),
    )
  }

  test('spread evenly: little, from a few products', () => {
    const [most] = largestParts(
      jsEngine,
      operatorOf((i) => 1 + i / count),
      vector(() => 1),
      0.2,
    )
    expect(most).toBeLessThan(0.2)
    expect(most).toBeGreaterThanOrEqual(1 / count)
  })

  test.for([0, 17, count - 1])('one part of a third: the bound is not below it, vector %s', (at) => {
    const parts = (i: number) => (i === at ? Math.sqrt((count - 1) / 2) : 1)
    const [most] = largestParts(
      jsEngine,
      operatorOf((i) => 1 + i / count),
      vector(parts),
      0.2,
    )
    expect(most).toBeGreaterThanOrEqual(1 / 3 - 1e-9)
  })

  test('a few parts alone: exactly the largest of them, once the process has filled their space', () => {
    const parts = (i: number) => ({ 3: 3, 20: 2, 41: 1 })[i] ?? 0
    const [most] = largestParts(
      jsEngine,
      operatorOf((i) => 1 + i),
      vector(parts),
      0,
    )
    expect(most).toBeCloseTo(9 / 14, 10)
  })
})
