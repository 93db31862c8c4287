/**
 * Logarithm, sine and cosine from + - * / alone, which IEEE 754 and ECMAScript round the same everywhere;
 * Math.log, Math.sin and Math.cos are "implementation-approximated" and differ between engines and versions.
 * Each result is within 1 ulp of the true value.
 *
 * The method is that of W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980): a reduction
 * with the constant in parts, then a series, here plain Taylor coefficients. What a rounded sum loses is put
 * back as in T. J. Dekker, Numer. Math. 18 (1971) 224, "Fast2Sum".
 */

/** ln 2 in two parts; the first has 32 bits, so that an exponent times it is exact. */
const LN2_HIGH = 0.6931471803691238
const LN2_LOW = 1.9082149292705877e-10

/** π/2 in three parts; the first two have 33 bits or fewer, so that a quadrant number times them is exact. */
const HALF_PI_HIGH = 1.5707963267341256
const HALF_PI_MIDDLE = 6.077100506303966e-11
const HALF_PI_LOW = 2.0222662487959506e-21

/**
 * The natural logarithm of x, finite and > 0, else RangeError. Meant for uniform draws: the exponent is found by halving
 * or doubling, one step per binary place, two on average over (0, 1).
 *
 * With x = 2^k·(1 + f), 1 + f in [√½, √2), and s = f / (2 + f): ln(1 + f) = 2·artanh(s) = f − s·(f − R),
 * R = 2·(s²/3 + s⁴/5 + …). Here |s| < 0.1716, so the first term left out is below 2⁻⁶² of the result.
 */
export function naturalLog(x: number): number {
  if (!(x > 0 && x < Number.POSITIVE_INFINITY)) throw new RangeError(`no logarithm of ${x}`)
  let mantissa = x
  let k = 0
  for (; mantissa < Math.SQRT1_2; k--) mantissa *= 2
  for (; mantissa >= Math.SQRT2; k++) mantissa *= 0.5
  const f = mantissa - 1
  const s = f / (2 + f)
  const z = s * s
  let R = 2 / 23
  for (let odd = 21; odd >= 3; odd -= 2) R = R * z + 2 / odd
  R *= z
  return k * LN2_HIGH - (s * (f - R) - k * LN2_LOW - f)
}

/**
 * Writes [sin x, cos x] to `out` for x in [0, 2π], else RangeError.
 *
 * x less q·π/2 is y + tail with |y| <= π/4; both Taylor series end where the next term is below 2⁻⁵⁸ of the result.
 */
export function sinCos(x: number, out: Float64Array): void {
  if (!(x >= 0 && x <= 2 * Math.PI)) throw new RangeError(`the angle must be in [0, 2π], got ${x}`)
  const quadrant = Math.floor(x * (2 / Math.PI) + 0.5)
  const first = x - quadrant * HALF_PI_HIGH
  const middle = quadrant * HALF_PI_MIDDLE
  const y = first - middle
  const tail = first - y - middle - quadrant * HALF_PI_LOW
  const sine = sinNear0(y, tail)
  const cosine = cosNear0(y, tail)
  const swap = (quadrant & 1) === 1
  const a = swap ? cosine : sine
  const b = swap ? sine : cosine
  out[0] = quadrant === 2 || quadrant === 3 ? -a : a
  out[1] = quadrant === 1 || quadrant === 2 ? -b : b
}

/** sin(y + tail), |y| <= π/4: y + (tail·cos y + y³·(−1/3! + y²/5! − …)). */
function sinNear0(y: number, tail: number): number {
  const z = y * y
  let p = 1 / 355687428096000
  p = p * z - 1 / 1307674368000
  p = p * z + 1 / 6227020800
  p = p * z - 1 / 39916800
  p = p * z + 1 / 362880
  p = p * z - 1 / 5040
  p = p * z + 1 / 120
  p = p * z - 1 / 6
  return y + (y * z * p + tail * (1 - 0.5 * z))
}

/** cos(y + tail), |y| <= π/4: 1 − y²/2 + (y⁴·(1/4! − y²/6! + …) − tail·y), with what rounds off 1 − y²/2 put back. */
function cosNear0(y: number, tail: number): number {
  const z = y * y
  let p = 1 / 20922789888000
  p = p * z - 1 / 87178291200
  p = p * z + 1 / 479001600
  p = p * z - 1 / 3628800
  p = p * z + 1 / 40320
  p = p * z - 1 / 720
  p = p * z + 1 / 24
  const half = 0.5 * z
  const head = 1 - half
  return head + (1 - head - half + (z * z * p - tail * y))
}
