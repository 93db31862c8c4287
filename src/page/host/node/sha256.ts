/** SHA-256 (FIPS 180-4), by calls that wait: the browser's own only answers later. */

const BLOCK = 64
const SCHEDULE = new Int32Array(64)

const primes = (count: number): number[] => {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime !== 0)) found.push(n)
  return found
}
/** The first 32 bits of the fraction of a root. */
const fraction = (root: number) => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0
const ROUND_KEYS = Int32Array.from(primes(64), (prime) => fraction(Math.cbrt(prime)))
const FIRST_STATE = Int32Array.from(primes(8), (prime) => fraction(Math.sqrt(prime)))

const rotated = (x: number, by: number) => (x >>> by) | (x << (32 - by))

/** Takes the 64 bytes from `at` on into the state. */
function compress(state: Int32Array, bytes: Uint8Array, at: number): void {
  for (let i = 0, p = at; i < 16; i++, p += 4) {
    SCHEDULE[i] = (bytes[p] << 24) | (bytes[p + 1] << 16) | (bytes[p + 2] << 8) | bytes[p + 3]
  }
  for (let i = 16; i < 64; i++) {
    const [x, y] = [SCHEDULE[i - 15], SCHEDULE[i - 2]]
    const s0 = rotated(x, 7) ^ rotated(x, 18) ^ (x >>> 3)
    const s1 = rotated(y, 17) ^ rotated(y, 19) ^ (y >>> 10)
    SCHEDULE[i] = (SCHEDULE[i - 16] + s0 + SCHEDULE[i - 7] + s1) | 0
  }
  let [a, b, c, d, e, f, g, h] = state
  for (let i = 0; i < 64; i++) {
    const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUND_KEYS[i] + SCHEDULE[i]) | 0
    const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  state[0] += a
  state[1] += b
  state[2] += c
  state[3] += d
  state[4] += e
  state[5] += f
  state[6] += g
  state[7] += h
}

export interface Sha256 {
  update(bytes: Uint8Array): void
  digest(): Uint8Array
}

export function sha256(): Sha256 {
  const state = FIRST_STATE.slice()
  const pending = new Uint8Array(2 * BLOCK)
  let held = 0
  let total = 0

  function update(bytes: Uint8Array): void {
    total += bytes.length
    let at = 0
    if (held > 0) {
      at = Math.min(BLOCK - held, bytes.length)
      pending.set(bytes.subarray(0, at), held)
      held += at
      if (held < BLOCK) return
      compress(state, pending, 0)
      held = 0
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) compress(state, bytes, at)
    pending.set(bytes.subarray(at), 0)
    held = bytes.length - at
  }

  function digest(): Uint8Array {
    const end = held < BLOCK - 8 ? BLOCK : 2 * BLOCK
    pending.fill(0, held, end)
    pending[held] = 0x80
    const view = new DataView(pending.buffer)
    view.setUint32(end - 8, Math.floor(total / 2 ** 29))
    view.setUint32(end - 4, (total << 3) >>> 0)
    for (let at = 0; at < end; at += BLOCK) compress(state, pending, at)
    const out = new DataView(new ArrayBuffer(32))
    for (const [i, word] of state.entries()) out.setInt32(4 * i, word)
    return new Uint8Array(out.buffer)
  }

  return { update, digest }
}
