import { badUsage } from '../errors.ts'
import { boxMuller, uniform53 } from './box-muller.ts'
import { mt19937 } from './mt19937.ts'
import { checkCount, type NormalDtype, type NormalStream } from './normal-stream.ts'
import { seedInteger } from './seed.ts'
import { FILL_BLOCK, fillNormals32, fillUniforms32 } from './torch-fill32.ts'

/** `torch.manual_seed` takes what fits 64 bits, signed or not. */
const SEED_MIN = -(2n ** 63n)
const SEED_END = 2n ** 64n

const HALF_BLOCK = FILL_BLOCK / 2

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
