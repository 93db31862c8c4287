/**
 * PyTorch's `normal_fill` for float32 on a CPU with AVX2: 16 uniforms at a time become 16 normals by Box–Muller,
 * with the float32 logarithm, sine and cosine of Cephes (S. L. Moshier) as J. Pommier and G. Garberoglio put them
 * into vector form (`avx_mathfun`, zlib licence), compiled with fused multiply-adds. Written afresh, one lane at a time;
 * every operation rounds to float32, so the results are bit for bit PyTorch's.
 */
import { fusedMultiplyAdd32 as fma } from './fused32.ts'

const f = Math.fround

/** Numbers filled at a time: the first 8 uniforms are radii, the other 8 angles. */
export const FILL_BLOCK = 16
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
export function fillUniforms32(
  data: Float32Array,
  offset: number,
  count: number,
  nextWord: () => number,
): void {
  for (let i = offset; i < offset + count; i++) data[i] = (nextWord() & (UNIFORM_SCALE - 1)) / UNIFORM_SCALE
}

/** Turns the 16 uniforms at `offset` into 16 normals, in place. */
export function fillNormals32(data: Float32Array, offset: number): void {
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
  for (let i = 1; i < LOG_COEFFICIENTS.length; i++) y = fma(y, x, LOG_COEFFICIENTS[i])
  y = f(y * x)
  y = fma(y, z, f(exponent * LN2_LOW))
  y = fma(z, -0.5, y)
  return fma(exponent, LN2_HIGH, f(x + y))
}

/** Writes radius·cos(angle) at `j` and radius·sin(angle) eight places on, for an angle in [0, 2π]. */
function boxMullerPair(data: Float32Array, j: number, radius: number, angle: number): void {
  const octant = (Math.trunc(f(angle * FOUR_OVER_PI)) + 1) & ~1
  let x = fma(octant, MINUS_QUARTER_PI_HIGH, angle)
  x = fma(octant, MINUS_QUARTER_PI_MIDDLE, x)
  x = fma(octant, MINUS_QUARTER_PI_LOW, x)
  const z = f(x * x)

  let c = fma(COS_8, z, COS_6)
  c = fma(c, z, COS_4)
  c = f(c * z)
  c = fma(c, z, -f(z * 0.5))
  c = f(c + 1)

  let s = fma(SIN_7, z, SIN_5)
  s = fma(s, z, SIN_3)
  s = f(s * z)
  s = fma(s, x, x)

  const swap = (octant & 2) !== 0
  const sine = (octant & 4) !== 0 ? -(swap ? c : s) : swap ? c : s
  const cosine = (~(octant - 2) & 4) !== 0 ? -(swap ? s : c) : swap ? s : c
  // PyTorch adds the mean, 0, which turns a result of -0 into +0.
  data[j] = f(radius * cosine) + 0
  data[j + HALF_BLOCK] = f(radius * sine) + 0
}
