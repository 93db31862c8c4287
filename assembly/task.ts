/** The work order that the host fills in and all threads share. Fields are 32-bit words in this order. */
@unmanaged
export class Task {
  /** One of the KIND_ numbers of index.ts. */
  kind: u32
  /** The next tile nobody has taken; threads take tiles by adding 1 atomically. */
  next: u32
  /** How many tiles there are. */
  tiles: u32
  /** Float type of the arithmetic and the result: TYPE_F32 or TYPE_F64. */
  arithmetic: u32
  /** A product's result is m × n and its sums run over k; other kinds say what they are. */
  m: u32
  n: u32
  k: u32
  a: usize
  typeA: u32
  /** Entries from one stored row to the next. */
  strideA: u32
  transposeA: u32
  b: usize
  typeB: u32
  strideB: u32
  transposeB: u32
  c: usize
  strideC: u32
  /** 1: add to what C holds; 0: overwrite it. */
  accumulate: u32
  /** 1: compute only the tiles that touch the lower triangle. */
  lowerOnly: u32
  tileRows: u32
  tileColumns: u32
  /** What tiles leave for the host to add up: a float64 each, or for KIND_NORMAL a k × n matrix each. */
  partials: usize
}
