import arc4 from 'seedrandom/seedrandom.js'
import { describe, expect, test } from 'vitest'
import { seedrandomNormals } from '../../src/random/seedrandom.ts'

const COUNT = 100_000

/** The first 20 numbers: if these change, every committed seed of every user gives another matrix. */
const GOLDENS: Record<string, number[]> = {
  '0': [
    0.6678055476780411, 0.22370737463554885, -1.120970347748743, 0.0810009169492283, -0.010499419652866594,
    -0.5135708734905206, 0.7446960725248106, 0.26446770970474076, -0.7855298914630869, -0.2329824286149241,
    2.429555850595808, 0.6936623376832779, -1.1896724455560246, -0.7713520973768557, -0.3620072013317645,
    -1.1530145689183207, 0.1063241700459718, 1.0509878864590558, 0.5482896416475911, 0.8081063047923496,
  ],
  abc: [
    -0.4751294297562452, -0.6311559443395366, -0.5544682013385814, -0.6027256738265032, -0.2438440310872638,
    1.3450861749798149, 0.15986536549000635, -1.1460984279871387, 0.47884894694069624, -1.2950653766696743,
    0.4532766115764882, 1.5080874026888862, -1.635368378206972, 1.1692845618125953, 0.25613011719739553,
    0.6895637403809495, 1.1840596347923065, -1.4762699898764848, -0.14940241371832458, -0.3074966278333526,
  ],
}

describe('the bits', () => {
  test.each(Object.keys(GOLDENS))('seed %s gives the committed numbers', (seed) => {
    expect(Array.from(seedrandomNormals(seed).normals(20, 'f64'))).toEqual(GOLDENS[seed])
  })

  test('the generator is the published one (README of seedrandom)', () => {
    const random = arc4('hello.')
    expect([random(), random()]).toEqual([0.9282578795792454, 0.3752569768646784])
  })

  test('they are Box–Muller of that generator, both numbers of each pair', () => {
    const random = arc4('abc')
    const drawn = seedrandomNormals('abc').normals(2000, 'f64')
    for (let i = 0; i < drawn.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(random()))
      const angle = 2 * Math.PI * random()
      expect(Math.abs(drawn[i] - radius * Math.cos(angle))).toBeLessThan(4e-15)
      expect(Math.abs(drawn[i + 1] - radius * Math.sin(angle))).toBeLessThan(4e-15)
    }
  })

  test('f32 is the f64 stream rounded', () => {
    const f64 = seedrandomNormals(3).normals(1001, 'f64')
    expect(seedrandomNormals(3).normals(1001, 'f32')).toEqual(Float32Array.from(f64))
  })

  test('the stream does not depend on how it is cut into calls', () => {
    const whole = seedrandomNormals(3).normals(64, 'f64')
    const stream = seedrandomNormals(3)
    const pieces = [1, 0, 2, 17, 16, 28].flatMap((count) => Array.from(stream.normals(count, 'f64')))
    expect(pieces).toEqual(Array.from(whole))
  })

  test('0, 0n and "0" are one seed, -0 too; others are not', () => {
    const first = (seed: string | bigint | number) => seedrandomNormals(seed).normals(1, 'f64')[0]
    for (const seed of [0n, '0', -0]) expect(first(seed)).toBe(first(0))
    expect(first(-1)).toBe(first('-1'))
    expect(new Set([first(0), first(1), first(-1), first(''), first(2n ** 100n)]).size).toBe(5)
  })

  test.each([0.5, Number.NaN, 1e21])('the number %d is refused as a seed', (seed) => {
    expect(() => seedrandomNormals(seed)).toThrow('a seed given as a number must be an integer')
  })

  test.each([-1, 0.5])('a count of %d is refused', (count) => {
    expect(() => seedrandomNormals(0).normals(count, 'f64')).toThrow(RangeError)
  })
})

describe.each(['0', 'abc'])('the distribution, seed %s', (seed) => {
  const x = seedrandomNormals(seed).normals(COUNT, 'f64')
  const mean = (of: (value: number, i: number) => number) =>
    x.reduce((sum, v, i) => sum + of(v, i), 0) / COUNT
  /** Four standard deviations of the mean of COUNT numbers of this variance. */
  const fourSigma = (variance: number) => 4 * Math.sqrt(variance / COUNT)

  test('moments are those of N(0, 1)', () => {
    expect(Math.abs(mean((v) => v))).toBeLessThan(fourSigma(1))
    expect(Math.abs(mean((v) => v ** 2) - 1)).toBeLessThan(fourSigma(2))
    expect(Math.abs(mean((v) => v ** 3))).toBeLessThan(fourSigma(15))
    expect(Math.abs(mean((v) => v ** 4) - 3)).toBeLessThan(fourSigma(96))
  })

  test('neighbours and the two of a pair are uncorrelated, and so are their squares', () => {
    expect(Math.abs(mean((v, i) => v * x[(i + 1) % COUNT]))).toBeLessThan(fourSigma(1))
    expect(Math.abs(mean((v, i) => v * x[(i + 2) % COUNT]))).toBeLessThan(fourSigma(1))
    expect(Math.abs(mean((v, i) => (v ** 2 - 1) * (x[i ^ 1] ** 2 - 1)))).toBeLessThan(2 * fourSigma(4))
  })

  test('the Kolmogorov–Smirnov distance is below its 1 % point', () => {
    const sorted = x.slice().sort()
    let distance = 0
    sorted.forEach((v, i) => {
      const p = normalCdf(v)
      distance = Math.max(distance, (i + 1) / COUNT - p, p - i / COUNT)
    })
    expect(distance).toBeLessThan(1.628 / Math.sqrt(COUNT))
  })
})

/** Φ(x) by G. Marsaglia, "Evaluating the Normal Distribution", J. Stat. Software 11 (2004) 4. */
function normalCdf(x: number): number {
  let term = x
  let sum = x
  for (let odd = 3; Math.abs(term) > 1e-17; odd += 2) {
    term *= (x * x) / odd
    sum += term
  }
  return 0.5 + sum * Math.exp(-0.5 * x * x - 0.5 * Math.log(2 * Math.PI))
}
