/**
 * Writes (x + 0)·first·second of `count` float32 numbers x, a multiple of 128, rounded after each product, as
 * src/linalg/truncation/halves.ts says: the upper halves, a bit for each eight numbers, and the lower halves of the eights in which any
 * isn't 0. Returns the bytes; 16 more may be overwritten.
 */
export function splitHalves(count: u32, from: usize, to: usize, first: f32, second: f32): usize {
  const zero = f32x4.splat(0)
  const firsts = f32x4.splat(first)
  const seconds = f32x4.splat(second)
  const start = to
  let flags = to + ((count as usize) << 1)
  let low = flags + ((count as usize) >> 6)
  for (let i: u32 = 0; i < count; i += 128) {
    let bits: u32 = 0
    for (let eight: u32 = 0; eight < 16; eight++) {
      const a = f32x4.mul(f32x4.mul(f32x4.add(v128.load(from), zero), firsts), seconds)
      const b = f32x4.mul(f32x4.mul(f32x4.add(v128.load(from, 16), zero), firsts), seconds)
      v128.store(to, v128.shuffle<u16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15))
      const lower = v128.shuffle<u16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
      // the next eight overwrites what is left out
      v128.store(low, lower)
      const any: u32 = v128.any_true(lower) ? 1 : 0
      bits |= any << eight
      low += (any as usize) << 4
      from += 32
      to += 16
    }
    store<u16>(flags, bits as u16)
    flags += 2
  }
  return low - start
}
