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
