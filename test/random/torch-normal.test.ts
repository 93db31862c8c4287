import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { NormalStream } from '../../src/random/seedrandom.ts'
import { fusedMultiplyAdd32, torchNormals } from '../../src/random/torch.ts'

interface Call {
  size: number
  dtype: 'float32' | 'float64'
  values: number[]
}
interface GoldenCase {
  seed: number
  kind: string
  calls: Call[]
  then_manual_seed?: number
  calls_after?: Call[]
}

const { cases }: { cases: GoldenCase[] } = JSON.parse(
  readFileSync(new URL('../fixtures/torch-randn.json', import.meta.url), 'utf8'),
)
/** As the golden file states for float64: PyTorch's own versions differ by as much. */
const FLOAT64_TOLERANCE = 4.5e-16

function checkCalls(stream: NormalStream, calls: Call[]): void {
  for (const { size, dtype, values } of calls) {
    if (dtype === 'float32') {
      expect(stream.normals(size, 'f32')).toEqual(Float32Array.from(values))
    } else {
      const drawn = stream.normals(size, 'f64')
      expect(drawn.length).toBe(size)
      drawn.forEach((x, i) => {
        expect(Math.abs(x - values[i])).toBeLessThanOrEqual(FLOAT64_TOLERANCE)
      })
    }
  }
}

describe('torch.randn after manual_seed', () => {
  test('there are 133 goldens', () => {
    expect(cases.length).toBe(133)
  })

  const named = cases.map((c) => ({
    name: `${c.kind} ${c.calls.map((call) => `${call.size}:${call.dtype}`).join(' ')}`,
    ...c,
  }))
  test.each(named)('seed $seed, $name', ({ seed, calls, then_manual_seed, calls_after }) => {
    checkCalls(torchNormals(seed), calls)
    if (then_manual_seed !== undefined) checkCalls(torchNormals(then_manual_seed), calls_after!)
  })

  test('the last 20 of a million and 3 float32 numbers, seed 7', () => {
    // torch 1.13, AVX2: torch.manual_seed(7); torch.randn(1000003)[-20:].view(torch.int32).tolist()
    const drawn = torchNormals(7).normals(1_000_003, 'f32')
    expect(Array.from(new Int32Array(drawn.buffer).subarray(-20))).toEqual(TAIL_BITS)
  })
})

describe('seeds', () => {
  const first = (seed: bigint | number) => torchNormals(seed).normals(20, 'f32')

  test('only the low 32 bits count, -1 is 2^64 - 1, and number and bigint are one seed', () => {
    expect(first(2n ** 32n + 5n)).toEqual(first(5))
    expect(first(-1)).toEqual(first(2n ** 64n - 1n))
    expect(first(-(2n ** 63n))).toEqual(first(0n))
    expect(first(1)).not.toEqual(first(0))
  })

  test.each([2n ** 64n, -(2n ** 63n) - 1n])('%d is outside what PyTorch takes', (seed) => {
    expect(() => torchNormals(seed)).toThrow(
      `a PyTorch seed must be in [-2^63, 2^64), that is -9223372036854775808 to 18446744073709551615, got ${seed}`,
    )
  })

  test('a number that is no safe integer is refused', () => {
    expect(() => torchNormals(0.5)).toThrow('a seed given as a number must be an integer')
  })
})

test('randn(0) draws nothing', () => {
  const stream = torchNormals(0)
  expect(stream.normals(0, 'f32')).toEqual(new Float32Array(0))
  expect(stream.normals(5, 'f32')).toEqual(torchNormals(0).normals(5, 'f32'))
})

test.each([-1, 1.5, Number.NaN])('a count of %d is refused', (count) => {
  expect(() => torchNormals(0).normals(count, 'f32')).toThrow(RangeError)
})

describe('fusedMultiplyAdd32', () => {
  test('rounds once where rounding to float64 first would go the other way', () => {
    // (1 + 2^-12)² = 1 + 2^-11 + 2^-24 lies halfway between two float32 numbers; c tips the balance.
    const a = 1 + 2 ** -12
    expect(fusedMultiplyAdd32(a, a, 2 ** -60)).toBe(1 + 2 ** -11 + 2 ** -23)
    expect(fusedMultiplyAdd32(a, a, -(2 ** -60))).toBe(1 + 2 ** -11)
    expect(fusedMultiplyAdd32(a, a, 0)).toBe(1 + 2 ** -11)
    // 1 + 3·2^-24 is halfway too, and its even neighbour is the upper one.
    const b = 1 + 2 ** -23
    expect(fusedMultiplyAdd32(b, 1, 2 ** -24)).toBe(1 + 2 ** -22)
    expect(fusedMultiplyAdd32(-(2 ** -24), 1 - 2 ** -24, b + 2 ** -23)).toBe(1 + 2 ** -22)
  })

  test('is the exact result, rounded', () => {
    const float = fc
      .float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 })
      .map((x) => (Math.abs(x) < 1e-6 ? 0 : x))
    // Products of these are often halfway between two float32 numbers, and the tiny ones tip the balance.
    const coarse = fc.integer({ min: 4096, max: 8191 }).map((n) => n / 4096)
    const tiny = fc
      .tuple(fc.integer({ min: 30, max: 90 }), fc.constantFrom(1, -1))
      .map(([k, sign]) => sign * 2 ** -k)
    const operand = fc.oneof(float, coarse)
    fc.assert(
      fc.property(operand, operand, fc.oneof(operand, tiny), (a, b, c) => {
        const got = fusedMultiplyAdd32(a, b, c)
        const exact = scaled(a) * scaled(b) + scaled(c) * SCALE
        const error = (x: number) => {
          const distance = scaled(x) * SCALE - exact
          return distance < 0n ? -distance : distance
        }
        expect(got).toBe(Math.fround(got))
        for (const neighbour of neighbours(got)) expect(error(got) <= error(neighbour)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})

/** All numbers here, neighbours of results too, are multiples of 2^-160. */
const SCALE_BITS = 160
const SCALE = 2n ** BigInt(SCALE_BITS)

function scaled(x: number): bigint {
  const high = Math.trunc(x * 2 ** 40)
  return BigInt(high) * 2n ** BigInt(SCALE_BITS - 40) + BigInt((x * 2 ** 40 - high) * 2 ** (SCALE_BITS - 40))
}

/** The float32 numbers on either side of x. */
function neighbours(x: number): number[] {
  if (x === 0) return []
  const bits = new Int32Array(Float32Array.of(x).buffer)[0]
  return Array.from(new Float32Array(Int32Array.of(bits - 1, bits + 1).buffer))
}

const TAIL_BITS: number[] = [
  1058888021, 1074235831, -1077353652, 1067788302, -1072960600, -1077778670, -1081005624, -1083602150,
  1062844501, 1051353347, 1035850247, -1081088409, 1044028926, -1080231460, 1040633803, 1045259892,
  1027001304, 1071852486, -1108160296, -1084520528,
]
