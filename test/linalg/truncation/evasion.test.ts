/**
 * A matrix made against the random numbers: a large singular value along a direction that the start block and the probe
 * don't see. Whoever knows the numbers before the matrix can solve for one.
 */
import { describe, expect, test } from 'vitest'
import { type Float64Matrix, matrix, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import { blockWidth, certifiedKrylov } from '../../../src/linalg/truncation/certified-krylov.ts'
import { PROBES } from '../../../src/linalg/truncation/complement-bound.ts'
import { shortSideOperator } from '../../../src/linalg/truncation/krylov.ts'
import { normalColumns, streamKeys, uniformColumns } from '../../../src/linalg/truncation/streams.ts'
import { truncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { mt19937, torchNormals } from '../../../src/random/torch.ts'
import { wasmEngine } from './engines.ts'
import { gaussian, optimum, withSpectrum } from './support.ts'

const [M, N, RANK] = [300, 200, 4]
/** The width of the start block for this rank with its oversampling. */
const START = blockWidth({ leastColumns: 1 }, RANK + 8)
const HIDDEN = 20

/** A unit vector orthogonal to the columns of the blocks, by Gram–Schmidt, twice. */
function hiddenFrom(blocks: readonly Float64Matrix[]): Float64Array {
  const known: Float64Array[] = []
  const reduced = (x: Float64Array) => {
    for (let pass = 0; pass < 3; pass++)
      for (const q of known) {
        const dot = q.reduce((sum, value, i) => sum + value * x[i], 0)
        for (let i = 0; i < N; i++) x[i] -= dot * q[i]
      }
    const length = Math.hypot(...x)
    return x.map((value) => value / length)
  }
  for (const { columns, data } of blocks)
    for (let j = 0; j < columns; j++)
      known.push(reduced(Float64Array.from({ length: N }, (_, i) => data[i * columns + j])))
  return reduced(Float64Array.from(gaussian(N, 1, 77).data))
}

/** It falls slowly, so that what rounding leaks of the hidden direction doesn't outgrow it. */
const spectrum = Array.from({ length: N }, (_, i) => 6 * (i + 1) ** -0.5)
const background = withSpectrum(M, N, spectrum, 5)

/** The background less its part along x and along the first row, and 20·e₁·xᵀ. */
function planted(x: Float64Array): Float64Matrix {
  const A = zeros(M, N)
  for (let i = 1; i < M; i++) {
    const row = background.data.subarray(i * N, (i + 1) * N)
    const dot = row.reduce((sum, value, j) => sum + value * x[j], 0)
    for (let j = 0; j < N; j++) A.data[i * N + j] = row[j] - dot * x[j]
  }
  for (let j = 0; j < N; j++) A.data[j] = HIDDEN * x[j]
  return A
}

/** The streams as they were: a Mersenne twister seeded by 32 bits of FNV-1a of seed, name and purpose. */
function streamsOf32Bits(): readonly Float64Matrix[] {
  const hash = (label: string) =>
    [...label].reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 0x01000193), 0x811c9dc5) >>> 0
  const word = mt19937(hash('0//start'))
  const start = Float64Array.from({ length: N * START }, () => word() / 2 ** 31 - 1)
  const probe = torchNormals(hash('0//probe/0')).normals(N * PROBES, 'f64')
  return [matrix(N, START, start), matrix(N, PROBES, probe)]
}

/** The start block and the probe that the digest of A gives. */
function streamsOf(A: Float64Matrix): readonly Float64Matrix[] {
  const keys = streamKeys(A, 0, '')
  return [
    uniformColumns(N, 'f64', keys.known('start'))(START),
    normalColumns(N, 'f64', keys.independent('probe/0'))(PROBES),
  ] as Float64Matrix[]
}

const rule = { kind: 'rank', rank: RANK } as const

/** Whether the certificate says what is not so. */
function isFooled(
  A: Float64Matrix,
  { optimalError, S }: { optimalError: { atLeast: number }; S: Float64Array },
) {
  return S[0] < HIDDEN / 2 && optimalError.atLeast > optimum(jacobiSvd(A, 'none'), RANK) * 1.05
}

describe('a matrix made against the random numbers', () => {
  const guess = planted(hiddenFrom(streamsOf(background)))
  const target = planted(hiddenFrom(streamsOf(guess)))

  test('evades a certificate whose numbers were known before the matrix', () => {
    const plan = {
      engine: wasmEngine,
      rule,
      limits: {},
      keys: streamKeys(guess, 0, ''),
      certify: 'default',
      goal: 0.01,
      cap: N / 2,
    } as const
    const result = certifiedKrylov(shortSideOperator(wasmEngine, target), plan, () => target)
    expect(result?.certificate).toMatchObject({ kind: 'probabilistic', closed: true })
    expect(result !== undefined && isFooled(target, result)).toBe(true)
  })

  test.each([
    ['the streams of 32 bits', () => planted(hiddenFrom(streamsOf32Bits()))],
    ['a guess of the digest', () => target],
  ])('does not evade ours, made against %s', (_, make) => {
    const A = make()
    const result = truncatedSvd(A, rule, { engine: wasmEngine })
    // found to within what the interval promises of the error
    expect(result.S[0]).toBeGreaterThan(0.99 * HIDDEN)
    expect(isFooled(A, result)).toBe(false)
    const best = optimum(jacobiSvd(A, 'none'), RANK)
    expect(result.optimalError.atLeast).toBeLessThanOrEqual(best)
    expect(result.optimalError.atMost).toBeGreaterThanOrEqual(best)
  })

  test('has no fixed point: each one has a digest of its own', () => {
    let A = target
    for (let i = 0; i < 12; i++) {
      A = planted(hiddenFrom(streamsOf(A)))
      expect(truncatedSvd(A, rule, { engine: wasmEngine }).S[0]).toBeGreaterThan(0.99 * HIDDEN)
    }
  })
})
