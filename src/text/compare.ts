import { quoted } from './quote.ts'

/** Names compared at most; a model has thousands, a hostile header a million. */
const COMPARED_NAMES = 20_000

/** Longer names aren't measured letter by letter: the table grows with the square. */
const COMPARED_CHARACTERS = 100

/** Names offered at most: they must fit one line. */
const OFFERED_NAMES = 3

/** A name this different, relative to the longer of the two, is another name and not a slip of the hand. */
const LARGEST_DIFFERENCE = 0.4

/** `; did you mean "a", "b"?` with the names nearest to the one asked for, or '' where none is near. */
export function didYouMean(asked: string, names: Iterable<string>): string {
  const near: { name: string; difference: number }[] = []
  let compared = 0
  for (const name of names) {
    if (++compared > COMPARED_NAMES) break
    const difference = nameDifference(asked, name)
    if (difference <= LARGEST_DIFFERENCE) near.push({ name, difference })
  }
  if (near.length === 0) return ''
  near.sort((a, b) => a.difference - b.difference)
  return `; did you mean ${near
    .slice(0, OFFERED_NAMES)
    .map(({ name }) => quoted(name))
    .join(', ')}?`
}

/** 0 for the same name up to case, below the limit where one contains the other, else the edits per character. */
function nameDifference(asked: string, name: string): number {
  const [a, b] = [asked.toLowerCase(), name.toLowerCase()]
  if (a === b) return 0
  if (a !== '' && b.includes(a)) return 0.1
  const longer = Math.max(a.length, b.length)
  if (longer > COMPARED_CHARACTERS || Math.abs(a.length - b.length) > LARGEST_DIFFERENCE * longer) return 1
  return editDistance(a, b) / longer
}

/** Letters to insert, delete or replace to turn a into b (Levenshtein), one row of the table at a time. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    row = next
  }
  return row[b.length]
}

/** Compares names with their numbers by size, so that layers.2 is before layers.10; the rest by bytes, whatever the locale. */
export function compareNatural(a: string, b: string): number {
  const [x, y] = [a, b].map((name) => name.split(/(\d+)/))
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    // every second part is a number
    const order = i % 2 === 1 ? compareNumbers(x[i], y[i]) : compareUtf8(x[i], y[i])
    if (order !== 0) return order
  }
  return x.length - y.length || compareUtf8(a, b)
}

function compareNumbers(a: string, b: string): number {
  const [x, y] = [a, b].map((digits) => digits.replace(/^0+(?=\d)/, ''))
  return x.length - y.length || compareUtf8(x, y)
}

/** Halves of characters past U+FFFF, which as units of UTF-16 come before U+E000 and as bytes of UTF-8 after all. */
const SURROGATE = /[\ud800-\udfff]/

/** Byte order of the names, as Rust compares strings. Where no name holds surrogates it is that of JavaScript's `<`, which makes no copies. */
export function compareUtf8(a: string, b: string): number {
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return a < b ? -1 : a > b ? 1 : 0
}

/** Adds a value to the list of its key: in place, so that a file of a million names takes no longer than its length. */
export function addTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}
