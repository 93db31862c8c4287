import type { Chance } from './chance.ts'

/** What a mutator can draw from besides its input. */
export interface Pool {
  /** Another input of the same parser. */
  readonly other: Uint8Array
  /** Texts that the parser was seen to compare with. */
  readonly words: readonly string[]
}

/** Makes another input of one, which stays as it is. */
export type Mutator = (input: Uint8Array, chance: Chance, pool: Pool) => Uint8Array

/** A change of bytes at a place. */
export type Change =
  | { readonly kind: 'set'; readonly at: number; readonly byte: number }
  | { readonly kind: 'insert'; readonly at: number; readonly byte: number }
  | { readonly kind: 'delete'; readonly at: number }
  /** All from there on is gone. */
  | { readonly kind: 'cut'; readonly at: number }

/** The bytes with these changes made, one after the other. */
export function changed(bytes: Uint8Array, changes: readonly Change[]): Uint8Array {
  const all = [...bytes]
  for (const change of changes) {
    const at = Math.min(change.at, all.length)
    if (change.kind === 'set') all[at] = change.byte
    else if (change.kind === 'insert') all.splice(at, 0, change.byte)
    else all.splice(at, change.kind === 'cut' ? all.length : 1)
  }
  return Uint8Array.from(all)
}

/** Marks of JSON, of Python's literals and of tables, and the edges of a byte. */
export const TELLING_BYTES = [
  0, 1, 9, 10, 13, 34, 35, 39, 40, 41, 44, 45, 46, 48, 57, 58, 91, 92, 93, 123, 125, 127, 128, 255,
]

/** Integers at the edges of what fields hold. */
const EDGES = [
  0n,
  1n,
  2n,
  16n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 32n,
  1n << 40n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
]

/** Numbers as texts write them: edges of types, and what looks like one. */
export const TELLING_NUMBERS = [
  '0',
  '-1',
  '1',
  '-0',
  '0.5',
  '1e9',
  '1e308',
  '1e999',
  '-1e-999',
  '4294967296',
  '9007199254740993',
  '18446744073709551616',
  'NaN',
  'Infinity',
  'nan',
  'inf',
  '1_0',
  '0x10',
  '01',
  '1.',
  '.5',
  '1,5',
]

type Step = (input: Uint8Array, chance: Chance, pool: Pool) => Uint8Array

const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A place, more often near the start, where headers are. */
const placeIn = ({ length }: Uint8Array, chance: Chance) =>
  chance.below(1 + (chance.oneIn(2) ? length : Math.min(length, 200)))

function range(input: Uint8Array, chance: Chance, most = 64): readonly [number, number] {
  const start = placeIn(input, chance)
  return [start, Math.min(input.length, start + 1 + chance.below(chance.oneIn(4) ? input.length + 1 : most))]
}

const replaced = (input: Uint8Array, start: number, end: number, by: Uint8Array) =>
  joined(input.subarray(0, start), by, input.subarray(end))

/** Writes an integer over what stands at a place, little-endian or big-endian. */
function withInteger(input: Uint8Array, at: number, value: bigint, size: number, isBig: boolean): Uint8Array {
  const out = new Uint8Array(input)
  for (let i = 0; i < size && at + i < out.length; i++) {
    out[at + (isBig ? size - 1 - i : i)] = Number((value >> BigInt(8 * i)) & 0xffn)
  }
  return out
}

const STEPS: readonly Step[] = [
  (input, chance) => changed(input, [{ kind: 'set', at: placeIn(input, chance), byte: chance.below(256) }]),
  (input, chance) =>
    changed(input, [{ kind: 'set', at: placeIn(input, chance), byte: chance.of(TELLING_BYTES) }]),
  (input, chance) =>
    changed(input, [{ kind: 'insert', at: placeIn(input, chance), byte: chance.of(TELLING_BYTES) }]),
  (input, chance) => changed(input, [{ kind: 'delete', at: placeIn(input, chance) }]),
  (input, chance) => {
    const at = placeIn(input, chance)
    const out = new Uint8Array(input)
    if (at < out.length) out[at] ^= 1 << chance.below(8)
    return out
  },
  (input, chance) => {
    const at = placeIn(input, chance)
    const out = new Uint8Array(input)
    if (at < out.length) out[at] += chance.below(17) - 8
    return out
  },
  (input, chance) => {
    const value = chance.oneIn(3) ? BigInt(input.length + chance.below(33) - 16) : chance.of(EDGES)
    return withInteger(
      input,
      placeIn(input, chance),
      value & ((1n << 64n) - 1n),
      chance.of([2, 4, 8]),
      chance.oneIn(5),
    )
  },
  (input, chance) => input.subarray(0, placeIn(input, chance)),
  (input, chance) => replaced(input, ...range(input, chance), new Uint8Array(0)),
  (input, chance) => {
    const [start, end] = range(input, chance)
    return replaced(input, end, end, input.subarray(start, end))
  },
  (input, chance) => {
    const [start, end] = range(input, chance)
    const at = placeIn(input, chance)
    return replaced(input, at, Math.min(input.length, at + end - start), input.subarray(start, end))
  },
  (input, chance, { words }) => {
    if (words.length === 0) return input
    const at = placeIn(input, chance)
    const word = bytesOf(chance.of(words))
    return replaced(input, at, chance.oneIn(2) ? at : Math.min(input.length, at + word.length), word)
  },
  (input, chance, { other }) => {
    const [start, end] = range(other, chance)
    const [from, to] = range(input, chance)
    return replaced(input, from, chance.oneIn(2) ? from : to, other.subarray(start, end))
  },
  (input, chance, { other }) =>
    joined(input.subarray(0, placeIn(input, chance)), other.subarray(placeIn(other, chance))),
  // a number as text becomes another
  (input, chance) => {
    const text = Buffer.from(input).toString('latin1')
    const numbers = [...text.matchAll(/-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/gi)]
    if (numbers.length === 0) return input
    const found = chance.of(numbers)
    const by = chance.oneIn(3) ? String(Number(found[0]) + chance.below(5) - 2) : chance.of(TELLING_NUMBERS)
    return replaced(input, found.index, found.index + found[0].length, bytesOf(by))
  },
]

/** Changes bytes without a thought of what they mean, in one to eight steps. */
export const mutateBytes: Mutator = (input, chance, pool) => {
  let out = input
  for (let steps = 1 + chance.below(chance.oneIn(3) ? 8 : 2); steps > 0; steps--) {
    out = chance.of(STEPS)(out, chance, pool)
  }
  return out
}
