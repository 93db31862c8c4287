/** The float type of drawn numbers. */
export type NormalDtype = 'f32' | 'f64'

/** A seeded source of standard normal numbers. */
export interface NormalStream {
  /**
   * The next `count` numbers of the stream, as one `randn(count)` gives them; only the count matters, not a shape.
   * Throws RangeError unless `count` is an integer >= 0.
   */
  normals(count: number, dtype: 'f32'): Float32Array
  normals(count: number, dtype: 'f64'): Float64Array
  normals(count: number, dtype: NormalDtype): Float32Array | Float64Array
}

/** Throws RangeError unless `count` can be a length. */
export function checkCount(count: number): void {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(`a count of normal numbers must be an integer >= 0, got ${count}`)
  }
}
