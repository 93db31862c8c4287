import { badUsage } from '../errors.ts'
import {
  boxMuller,
  checkCount,
  type NormalDtype,
  type NormalStream,
  seedInteger,
  uniform53,
} from './seedrandom.ts'

/** Words of state (n) and the distance of the recurrence (m) of MT19937. */
const STATE_WORDS = 624
const SHIFT_WORDS = 397

/**
 * The 32-bit Mersenne twister: returns a function that gives the next word in [0, 2^32) of the stream of `seed`, of which
 * the low 32 bits count.
 *
 * M. Matsumoto and T. Nishimura, ACM TOMACS 8 (1998) 3, seeded as in their `init_genrand` of 2002, which
 * PyTorch's `manual_seed` and C++'s `std::mt19937` use too.
 */
export function mt19937(seed: number): () => number {
  const state = new Uint32Array(STATE_WORDS)
  state[0] = seed
  for (let j = 1; j < STATE_WORDS; j++) {
    state[j] = Math.imul(1812433253, state[j - 1] ^ (state[j - 1] >>> 30)) + j
  }
  let index = STATE_WORDS

  return () => {
    if (index === STATE_WORDS) {
      twist(state)
      index = 0
    }
    let y = state[index++]
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    y ^= y >>> 18
    return y >>> 0
  }
}

/** Replaces the state by the next 624 words of the recurrence. */
function twist(state: Uint32Array): void {
  for (let i = 0; i < STATE_WORDS; i++) {
    const next = state[i + 1 < STATE_WORDS ? i + 1 : 0]
    const far = state[i < STATE_WORDS - SHIFT_WORDS ? i + SHIFT_WORDS : i + SHIFT_WORDS - STATE_WORDS]
    const y = (state[i] & 0x80000000) | (next & 0x7fffffff)
    state[i] = far ^ (y >>> 1) ^ ((y & 1) === 1 ? 0x9908b0df : 0)
  }
}

/**
 * The float32 fused multiply-add: a·b + c for float32 a, b, c, rounded once to float32, as the x86 FMA instructions do.
 * Right while nothing overflows and no result is subnormal.
 *
 * a·b is exact in float64; the float64 sum may be rounded, which matters only where it lands halfway between two float32
 * numbers. There the part rounded off (D. E. Knuth, TAOCP vol. 2, 4.2.2, "TwoSum") says which of the two it is.
 */
export function fusedMultiplyAdd32(a: number, b: number, c: number): number {
  const product = a * b
  const sum = product + c
  const rounded = Math.fround(sum)
  const mirrored = sum + (sum - rounded)
  if (mirrored === rounded || Math.fround(mirrored) !== mirrored) return rounded
  const part = sum - product
  const lost = product - (sum - part) + (c - part)
  if (lost === 0) return rounded
  return lost > 0 ? Math.max(rounded, mirrored) : Math.min(rounded, mirrored)
}

/**
 * PyTorch's `normal_fill` for float32 on a CPU with AVX2: 16 uniforms at a time become 16 normals by Box–Muller,
 * with the float32 logarithm, sine and cosine of Cephes (S. L. Moshier) as J. Pommier and G. Garberoglio put them
 * into vector form (`avx_mathfun`, zlib licence), compiled with fused multiply-adds. Written afresh, one lane at a time;
 * every operation rounds to float32, so the results are bit for bit PyTorch's.
 */

const f = Math.fround

/** Numbers filled at a time: the first 8 uniforms are radii, the other 8 angles. */
const FILL_BLOCK = 16
const HALF_BLOCK = FILL_BLOCK / 2

/** A uniform is a 24-bit integer over 2^24: all that a float32 mantissa holds. */
const UNIFORM_BITS = 24
const UNIFORM_SCALE = 1 << UNIFORM_BITS

/** Cephes `logf`: ln(1 + x) = x − x²/2 + x³·P(x) for 1 + x in [√½, √2). */
const LOG_COEFFICIENTS = Float32Array.of(
  7.0376836292e-2,
  -1.151461031e-1,
  1.167699874e-1,
  -1.2420140846e-1,
  1.4249322787e-1,
  -1.6668057665e-1,
  2.0000714765e-1,
  -2.4999993993e-1,
  3.3333331174e-1,
)
const SQRT_HALF = f(Math.SQRT1_2)
const LN2_HIGH = 0.693359375
const LN2_LOW = f(-2.1219444e-4)

/** Cephes `sinf` and `cosf`: −π/4 in three parts, then polynomials in x². */
const FOUR_OVER_PI = f(4 / Math.PI)
const MINUS_QUARTER_PI_HIGH = -0.78515625
const MINUS_QUARTER_PI_MIDDLE = -2.4187564849853516e-4
const MINUS_QUARTER_PI_LOW = f(-3.774894977445941e-8)
const COS_8 = f(2.443315711809948e-5)
const COS_6 = f(-1.388731625493765e-3)
const COS_4 = f(4.166664568298827e-2)
const SIN_7 = f(-1.9515295891e-4)
const SIN_5 = f(8.3321608736e-3)
const SIN_3 = f(-1.6666654611e-1)
const TWO_PI = f(2 * Math.PI)

/** Writes `count` uniforms in [0, 1) from `offset` on, each the low 24 bits of a word. */
function fillUniforms32(data: Float32Array, offset: number, count: number, nextWord: () => number): void {
  for (let i = offset; i < offset + count; i++) data[i] = (nextWord() & (UNIFORM_SCALE - 1)) / UNIFORM_SCALE
}

/** Turns the 16 uniforms at `offset` into 16 normals, in place. */
function fillNormals32(data: Float32Array, offset: number): void {
  for (let j = offset; j < offset + HALF_BLOCK; j++) {
    const log = logOfUniform(UNIFORM_SCALE - data[j] * UNIFORM_SCALE)
    const radius = f(Math.sqrt(f(-2 * log)))
    const angle = f(TWO_PI * data[j + HALF_BLOCK])
    boxMullerPair(data, j, radius, angle)
  }
}

/** ln(n / 2^24) in float32 for an integer n in [1, 2^24]. */
function logOfUniform(n: number): number {
  const bits = 32 - Math.clz32(n)
  let exponent = bits - UNIFORM_BITS
  let x = n / (1 << bits)
  if (x < SQRT_HALF) {
    exponent -= 1
    x = f(f(x - 1) + x)
  } else {
    x = f(x - 1)
  }
  const z = f(x * x)
  let y = LOG_COEFFICIENTS[0]
  for (let i = 1; i < LOG_COEFFICIENTS.length; i++) y = fusedMultiplyAdd32(y, x, LOG_COEFFICIENTS[i])
  y = f(y * x)
  y = fusedMultiplyAdd32(y, z, f(exponent * LN2_LOW))
  y = fusedMultiplyAdd32(z, -0.5, y)
  return fusedMultiplyAdd32(exponent, LN2_HIGH, f(x + y))
}

/** Writes radius·cos(angle) at `j` and radius·sin(angle) eight places on, for an angle in [0, 2π]. */
function boxMullerPair(data: Float32Array, j: number, radius: number, angle: number): void {
  const octant = (Math.trunc(f(angle * FOUR_OVER_PI)) + 1) & ~1
  let x = fusedMultiplyAdd32(octant, MINUS_QUARTER_PI_HIGH, angle)
  x = fusedMultiplyAdd32(octant, MINUS_QUARTER_PI_MIDDLE, x)
  x = fusedMultiplyAdd32(octant, MINUS_QUARTER_PI_LOW, x)
  const z = f(x * x)

  let c = fusedMultiplyAdd32(COS_8, z, COS_6)
  c = fusedMultiplyAdd32(c, z, COS_4)
  c = f(c * z)
  c = fusedMultiplyAdd32(c, z, -f(z * 0.5))
  c = f(c + 1)

  let s = fusedMultiplyAdd32(SIN_7, z, SIN_5)
  s = fusedMultiplyAdd32(s, z, SIN_3)
  s = f(s * z)
  s = fusedMultiplyAdd32(s, x, x)

  const swap = (octant & 2) !== 0
  const sine = (octant & 4) !== 0 ? -(swap ? c : s) : swap ? c : s
  const cosine = (~(octant - 2) & 4) !== 0 ? -(swap ? s : c) : swap ? s : c
  // PyTorch adds the mean, 0, which turns a result of -0 into +0.
  data[j] = f(radius * cosine) + 0
  data[j + HALF_BLOCK] = f(radius * sine) + 0
}

/** `torch.manual_seed` takes what fits 64 bits, signed or not. */
const SEED_MIN = -(2n ** 63n)
const SEED_END = 2n ** 64n

/**
 * PyTorch's normals on a CPU: `torch.manual_seed(seed)`, then one `torch.randn(count, dtype=…)` a call.
 *
 * float32 is bit for bit what PyTorch gives on an x86-64 CPU with AVX2; its builds without AVX2 differ by up to 2.1e-6 for
 * counts of 16 and more. float64 agrees to 2 ulp, as PyTorch takes its logarithm and sines from the system's C library.
 * `seed` is any integer in [-2^63, 2^64), else bad-usage; as in PyTorch only its low 32 bits count.
 *
 * Source: ATen/core/MT19937RNGEngine.h, core/DistributionsHelper.h, native/cpu/DistributionTemplates.h. A count below 16
 * draws the numbers one by one, in pairs of which the second is kept for the next such draw, of either type. From 16 on
 * the array is filled with uniforms, transformed 16 at a time; the last 16 are drawn anew when 16 does not divide the count.
 */
export function torchNormals(seed: bigint | number): NormalStream {
  const nextWord = mt19937(engineSeed(seed))
  const pair = new Float64Array(2)
  let second: number | undefined

  function nextNormal(): number {
    if (second !== undefined) {
      const value = second
      second = undefined
      return value
    }
    const angle = uniform53(nextWord)
    boxMuller(uniform53(nextWord), angle, pair)
    second = pair[1]
    return pair[0]
  }

  function fill64(out: Float64Array, offset: number): void {
    for (let j = offset; j < offset + HALF_BLOCK; j++) {
      boxMuller(out[j], out[j + HALF_BLOCK], pair)
      out[j] = pair[0]
      out[j + HALF_BLOCK] = pair[1]
    }
  }

  function normals64(count: number): Float64Array {
    const out = new Float64Array(count)
    if (count < FILL_BLOCK) {
      for (let i = 0; i < count; i++) out[i] = nextNormal()
      return out
    }
    for (let i = 0; i < count; i++) out[i] = uniform53(nextWord)
    for (let i = 0; i + FILL_BLOCK <= count; i += FILL_BLOCK) fill64(out, i)
    if (count % FILL_BLOCK !== 0) {
      const last = count - FILL_BLOCK
      for (let i = last; i < count; i++) out[i] = uniform53(nextWord)
      fill64(out, last)
    }
    return out
  }

  function normals32(count: number): Float32Array {
    const out = new Float32Array(count)
    if (count < FILL_BLOCK) {
      for (let i = 0; i < count; i++) out[i] = nextNormal()
      return out
    }
    fillUniforms32(out, 0, count, nextWord)
    for (let i = 0; i + FILL_BLOCK <= count; i += FILL_BLOCK) fillNormals32(out, i)
    if (count % FILL_BLOCK !== 0) {
      const last = count - FILL_BLOCK
      fillUniforms32(out, last, FILL_BLOCK, nextWord)
      fillNormals32(out, last)
    }
    return out
  }

  function normals(count: number, dtype: 'f32'): Float32Array
  function normals(count: number, dtype: 'f64'): Float64Array
  function normals(count: number, dtype: NormalDtype): Float32Array | Float64Array
  function normals(count: number, dtype: NormalDtype): Float32Array | Float64Array {
    checkCount(count)
    return dtype === 'f32' ? normals32(count) : normals64(count)
  }
  return { normals }
}

/** The 32 bits of a seed that reach the generator. Throws bad-usage outside [-2^63, 2^64). */
function engineSeed(seed: bigint | number): number {
  const integer = seedInteger(seed)
  if (integer < SEED_MIN || integer >= SEED_END) {
    throw badUsage(
      `a PyTorch seed must be in [-2^63, 2^64), that is ${SEED_MIN} to ${SEED_END - 1n}, got ${integer}`,
    )
  }
  return Number(BigInt.asUintN(32, integer))
}
