import arc4 from 'seedrandom/seedrandom.js'
import { checkCount, type NormalDtype, type NormalStream } from './normal-stream.ts'
import { naturalLog, sinCos } from './portable-math.ts'
import { seedInteger } from './seed.ts'

/**
 * Standard normals from `seedrandom(String(seed))`, the same bits on every platform: 0, 0n and '0' are one seed.
 * The stream does not depend on how it is cut into calls, and 'f32' is the 'f64' stream rounded.
 * Throws bad-usage on a number that is no integer.
 *
 * G. E. P. Box and M. E. Muller, Ann. Math. Stat. 29 (1958) 610: two uniforms u, v give the pair
 * √(−2 ln u)·cos 2πv and √(−2 ln u)·sin 2πv, in this order.
 */
export function seedrandomNormals(seed: string | bigint | number): NormalStream {
  // Only the ARC4 file of the package: its index would load six more generators.
  const uniform = arc4(typeof seed === 'string' ? seed : seedInteger(seed).toString())
  const unit = new Float64Array(2)
  let second: number | undefined

  function next(): number {
    if (second !== undefined) {
      const value = second
      second = undefined
      return value
    }
    const radius = Math.sqrt(-2 * naturalLog(uniform()))
    sinCos(2 * Math.PI * uniform(), unit)
    second = radius * unit[0]
    return radius * unit[1]
  }

  function normals(count: number, dtype: 'f32'): Float32Array
  function normals(count: number, dtype: 'f64'): Float64Array
  function normals(count: number, dtype: NormalDtype): Float32Array | Float64Array
  function normals(count: number, dtype: NormalDtype): Float32Array | Float64Array {
    checkCount(count)
    const out = dtype === 'f32' ? new Float32Array(count) : new Float64Array(count)
    for (let i = 0; i < count; i++) out[i] = next()
    return out
  }
  return { normals }
}
