/** The inner loop of XXH32 (doc/xxhash_spec.md of Cyan4973/xxHash), whose four lanes are those of a vector. */

const P1: i32 = 0x9e3779b1
const P2: i32 = 0x85ebca77

/** Takes `count` bytes, a multiple of 16, into the four 32-bit lanes at `lanes`. */
export function takeStripes(lanes: usize, bytes: usize, count: usize): void {
  const first = i32x4.splat(P1)
  const second = i32x4.splat(P2)
  let state = v128.load(lanes)
  const end = bytes + count
  for (; bytes < end; bytes += 16) {
    state = i32x4.add(state, i32x4.mul(v128.load(bytes), second))
    state = i32x4.mul(v128.or(i32x4.shl(state, 13), i32x4.shr_u(state, 19)), first)
  }
  v128.store(lanes, state)
}
