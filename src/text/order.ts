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

/** Byte order of the names, as Rust compares strings; JavaScript's `<` compares UTF-16 units, which differs past U+FFFF. */
export const compareUtf8 = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Adds a value to the list of its key: in place, so that a file of a million names takes no longer than its length. */
export function addTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}
