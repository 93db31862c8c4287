/**
 * Values as JSON that come back as they were: JSON writes each finite number so that reading gives the same one, but has no words for the
 * others, for a negative zero, or for an array of numbers that is not a list. `{"number": "Infinity"}` and `{"float64": […]}` stand for these.
 */
export function toExactJson(value: unknown): unknown {
  if (typeof value === 'number') return numberToJson(value)
  if (value instanceof Float64Array) return { float64: Array.from(value, numberToJson) }
  if (Array.isArray(value)) return value.map(toExactJson)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, toExactJson(one)]))
}

/** What `toExactJson` was given. */
export function fromExactJson(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(fromExactJson)
  const [[key, one] = [], ...others] = Object.entries(value)
  if (others.length === 0) {
    if (key === 'number' && typeof one === 'string') return Number(one)
    if (key === 'float64' && Array.isArray(one))
      return Float64Array.from(one, (x) => Number(fromExactJson(x)))
  }
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, fromExactJson(each)]))
}

const numberToJson = (x: number) =>
  Number.isFinite(x) && !Object.is(x, -0) ? x : { number: Object.is(x, -0) ? '-0' : String(x) }
