/**
 * Writes `count` 32-bit words, a multiple of 128, as src/linalg/truncation/halves.ts says: the upper halves, a bit for each eight
 * words, and the lower halves of the eights in which any isn't 0. Returns the bytes; 16 more may be overwritten.
 */
export function splitHalves(count: u32, from: usize, to: usize): usize {
  const start = to
  let flags = to + ((count as usize) << 1)
  let low = flags + ((count as usize) >> 6)
  for (let i: u32 = 0; i < count; i += 128) {
    let bits: u32 = 0
    for (let eight: u32 = 0; eight < 16; eight++) {
      const a = v128.load(from)
      const b = v128.load(from, 16)
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
