/**
 * Logarithm, exponential, sine, cosine and arc tangent from + - * / alone, which IEEE 754 and ECMAScript round the same everywhere;
 * Math.log, Math.exp, Math.sin, Math.cos and Math.atan are "implementation-approximated" and differ between engines and versions.
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

/** Where `exponential` ends: e to this is near the largest number. */
const LARGEST_EXPONENT = 709

/**
 * e to the power of x in [0, 709], else RangeError. With x = k·ln 2 + y, |y| <= ln(2)/2: the first term of the Taylor series of e^y that
 * is left out is below 2⁻⁵⁸ of it.
 */
export function exponential(x: number): number {
  if (!(x >= 0 && x <= LARGEST_EXPONENT))
    throw new RangeError(`the exponent must be in [0, ${LARGEST_EXPONENT}], got ${x}`)
  const k = Math.floor(x / Math.LN2 + 0.5)
  const first = x - k * LN2_HIGH
  const low = k * LN2_LOW
  const y = first - low
  const tail = first - y - low
  let sum = 0
  for (let n = 15; n >= 3; n--) sum = (y * (1 + sum)) / n
  // 1 + y + y²/2·(1 + …), the small parts first
  let power = 1 + (y + (0.5 * y * y * (1 + sum) + tail * (1 + y)))
  for (let i = 0; i < k; i++) power *= 2
  return power
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

/** π/8 in two parts; a small whole number of times the first rounds little, and the second takes it up. */
const EIGHTH_HIGH = 0.39269908169872414
const EIGHTH_LOW = 1.5308084989341915e-17

/** The tangents of 0, 1, 2 and 3 eighths of π, each in two parts, and of the angles halfway to the next. */
const TANGENTS = [
  [0, 0],
  [0.41421356237309503, 1.4349369327986523e-17],
  [1, 0],
  [2.414213562373095, 1.2537167179050217e-16],
] as const
const HALFWAY = [0.198912367379658, 0.668178637919299, 1.496605762665489, 5.027339492125848]

/**
 * The arc tangent of x ≥ 0, infinity too. With t the tangent of the nearest eighth of π the rest of the angle has the tangent
 * (x − t) / (1 + x·t), at most tan(π/16) in size; the first term of its Taylor series that is left out is below 2⁻⁵⁸ of it.
 */
export function arcTangent(x: number): number {
  const nearest = HALFWAY.findIndex((end) => x < end)
  if (nearest < 0) return withEighths(4, -1 / x)
  const [high, low] = TANGENTS[nearest]
  return withEighths(nearest, (x - high - low) / (1 + x * high))
}

/** So many eighths of π and the arc tangent of y, which is small. */
function withEighths(eighths: number, y: number): number {
  const z = y * y
  let sum = 0
  for (let odd = 25; odd >= 3; odd -= 2) sum = (1 / odd - sum) * z
  // the small parts first: y·sum, what π/8 lost, and y
  return eighths * EIGHTH_HIGH + (y + (eighths * EIGHTH_LOW - y * sum))
}
