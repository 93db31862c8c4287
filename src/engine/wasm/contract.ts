/**
 * What the kernels of assembly/ and the program that calls them must agree on, written once: AssemblyScript and TypeScript
 * both compile this file. So it imports nothing and holds only whole numbers. Addresses and words are of 32 bits.
 */

/** How numbers are stored. Arithmetic and results are f32 or f64. */
export enum TypeCode {
  f32,
  f64,
  bf16,
  f16,
}

/** What a task asks for. */
export enum Kind {
  /** C (+)= op(A)·op(B), A m × k as `op` leaves it, B k × n. */
  gemm,
  /** Aᵀ·(A·X): A m × k, n columns of X, `b` X as `packRight` leaves it. A tile is `tileRows` rows and leaves a k × n matrix. */
  normal,
  /** ‖A‖_F² of m entries. A tile is SUM_ENTRIES of them and leaves a float64. */
  frobenius,
  /** ‖A − B·C‖_F²: A m × n, B m × k, C k × n stored as `arithmetic`. A tile is PACKED_ROWS × RESIDUAL_COLUMNS and leaves a float64. */
  residual,
}

/** The words of a task, the work order that the caller fills in and all threads share. */
export enum TaskField {
  /** A `Kind`. */
  kind,
  /** The next tile that nobody has taken: threads take tiles by adding 1 atomically. */
  next,
  /** How many tiles there are. */
  tiles,
  /** The `TypeCode` of the arithmetic and of the result. */
  arithmetic,
  /** What these three mean, `kind` says. */
  m,
  n,
  k,
  /** The address of the left operand, and the `TypeCode` that it is stored in. */
  a,
  typeA,
  /** Entries from one stored row to the next. */
  strideA,
  /** 1: the operand is the transpose of what is stored. */
  transposeA,
  b,
  typeB,
  strideB,
  transposeB,
  c,
  strideC,
  /** 1: add to what C holds; 0: overwrite it. */
  accumulate,
  /** 1: compute only the tiles that touch the lower triangle. */
  lowerOnly,
  tileRows,
  tileColumns,
  /** The address of what tiles leave for the caller to add up. */
  partials,
}
export const TASK_WORDS = TaskField.partials + 1

/** The float64 numbers that `subtract` adds to: Σ base², Σ tuned², Σ delta², how many entries differ, and the largest |delta| so far. */
export enum Sum {
  ofBase,
  ofTuned,
  ofDelta,
  changed,
  largest,
}
export const SUMS = Sum.largest + 1

/**
 * The float64 numbers that `addRounded` adds to, Δ being B·A: ΣΔ², Σ(stored − W)·Δ and Σ(stored − W − Δ)² over the entries that
 * are finite and stay so; how many are stored as another number; how many that were finite are stored as infinity; and how
 * many W + Δ aren't finite.
 */
export enum UpdateSum {
  deltaSquared,
  kept,
  residualSquared,
  changed,
  overflowed,
  nonFinite,
}
export const UPDATE_SUMS = UpdateSum.nonFinite + 1
/** `addRounded`: rows of B that are packed, and multiplied, together. */
export const UPDATE_ROWS = 4
/** `addRounded`: columns at a time. At rank 16 their part of A fills half of a 32 KiB first-level cache. */
export const UPDATE_COLUMNS = 128

/**
 * Inner indices that a product sums at a time. Float32: a panel of B (8 columns) fills half of a 32 KiB first-level cache.
 * The bits of a product depend on these, so a left operand is cut into slabs at multiples of both.
 */
export const DEPTH_F32 = 512
export const DEPTH_F64 = 256
/** Rows of A packed at a time: 256 KiB, half of a 512 KiB second-level cache. */
export const PACKED_ROWS = 128
/** The widest tile of C a thread may be given, which bounds its packed B. */
export const MAX_TILE_COLUMNS = 512
/** Columns of a register tile, to which packed columns are padded. */
export const REGISTER_COLUMNS = 8

/** Kind.normal: rows of A in a panel, of which `tileRows` is a multiple. */
export const PANEL_ROWS = 256
/** Kind.normal: the most columns X may have, which bounds the panel of A·X that a thread keeps. */
export const MAX_NORMAL_COLUMNS = 128

/** Entries whose squares are summed in strands before they join the whole: short sums lose less to rounding. */
export const SUM_ENTRIES = 4096
/** Kind.residual: columns of a tile, whose rows are PACKED_ROWS. */
export const RESIDUAL_COLUMNS = 256
