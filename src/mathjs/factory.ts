import { type FactoryFunction, factory } from 'mathjs'
import { type FloatType, fromRows, type Matrix, toFloat32, toFloat64 } from '../linalg/matrix/matrix.ts'
import { firstNonFinite } from '../linalg/matrix/norms.ts'
import type { WithMatrices } from './float-matrix.ts'

/** What mathjs exports and its own types leave out. */
declare module 'mathjs' {
  export const createTyped: FactoryFunction<unknown>
  export const createMatrixClass: FactoryFunction<unknown>
  export const createDenseMatrixClass: FactoryFunction<unknown>
  /** The embedded documentation that `help` reads, shared by all instances. */
  export const docs: Record<string, object>
}

interface Meta {
  /** Made as soon as it is imported, and not on first use. */
  readonly lazy?: false
}

/** mathjs's `factory`, with the classes among its dependencies allowed, which its types leave out. */
export const defineFactory = factory as <D>(
  name: string,
  dependencies: readonly (string & keyof D)[],
  create: (dependencies: D) => unknown,
  meta?: Meta,
) => FactoryFunction<unknown>

export type Signatures = Record<string, (...args: never[]) => unknown>

/** What we use of the typed-function of a mathjs instance. */
export interface TypedFunctions {
  (name: string, signatures: Signatures): unknown
  addTypes(types: { name: string; test: (x: unknown) => boolean }[], before: string): void
}

const made = new WeakMap<TypedFunctions, Map<string, unknown>>()

/**
 * What `make` gave the first time for this mathjs instance, which `typed` stands for. mathjs joins the signatures of two
 * functions of one name only where equal signatures are the same function: so importing everything twice changes nothing.
 */
export function oncePerInstance<T>(typed: TypedFunctions, name: string, make: () => T): T {
  const ofInstance = made.get(typed) ?? new Map<string, unknown>()
  made.set(typed, ofInstance)
  if (!ofInstance.has(name)) ofInstance.set(name, make())
  return ofInstance.get(name) as T
}

type AnyFunction = (...args: unknown[]) => unknown

/** Dependencies with the mathjs instance itself. */
export interface WithMath extends WithMatrices {
  math: Record<string, AnyFunction | undefined>
}

/** More signatures for a function that mathjs has. */
export interface Extension {
  readonly name: string
  signatures(dependencies: WithMath): Signatures
}

const extensionOf = ({ name, signatures }: Extension, given: WithMath) =>
  oncePerInstance(given.typed, `more ${name}`, () => given.typed(name, signatures(given)))

/**
 * Joins the signatures to the functions that the instance has. An import within the import, because a factory of such a name
 * would take the place of mathjs's function where `override` is set.
 */
export function extend(extensions: readonly Extension[], given: WithMath): void {
  const functions = extensions.map((extension) => [extension.name, extensionOf(extension, given)])
  given.math.import?.(Object.fromEntries(functions))
}

/** The function with these signatures alone, for an instance that doesn't have mathjs's. */
export const factoryOf = (extension: Extension): FactoryFunction<unknown> =>
  defineFactory(extension.name, ['typed', 'DenseMatrix', 'math'], (given: WithMath) =>
    extensionOf(extension, given),
  )

/** The option `rank` of the function `name`. Throws TypeError unless a matrix with `most` singular values can have it. */
export function checkRank(name: string, rank: number, most: number): number {
  if (Number.isInteger(rank) && rank >= 1 && rank <= most) return rank
  if (most === 0) throw new TypeError(`${name} option rank: a matrix without entries has no singular values`)
  throw new TypeError(`${name} option rank is an integer from 1 to ${most}, not ${rank}`)
}

/** Throws TypeError, as mathjs functions do, naming the first entry that is NaN or infinite. */
export function requireFiniteEntries(name: string, A: Matrix): void {
  const bad = firstNonFinite(A.data)
  if (bad < 0) return
  throw new TypeError(`${name} needs finite numbers, but the entry at ${placeOf(A, bad)} is ${A.data[bad]}`)
}

/**
 * Throws RangeError where a result is too large for its float type; `what` names it, and the matrix scaled `direction` would
 * have one that isn't.
 */
export function requireFiniteResult(
  name: string,
  what: string,
  data: ArrayLike<number>,
  direction: 'up' | 'down' = 'down',
): void {
  if (Array.prototype.every.call(data, Number.isFinite)) return
  const most =
    data instanceof Float32Array
      ? "3.4e38, the most that 'f32' holds"
      : '1.8e308, the most that a number holds'
  throw new RangeError(`${name}: ${what} would exceed ${most}; scale the matrix ${direction} first`)
}

export type Nested = number[][]

/** A mathjs matrix of any kind. */
export interface Rows {
  toArray(): Nested
}

/**
 * The rows of a mathjs array or matrix as a flat matrix, for the function `name`. Throws TypeError where there aren't two
 * dimensions, and for the first entry that is no number; RangeError for rows of different lengths, and for a finite number
 * that float32 can't hold.
 */
export function flatten(name: string, rows: Nested, type: FloatType = 'f64'): Matrix {
  for (const [i, row] of rows.entries()) {
    if (!Array.isArray(row)) throw new TypeError(`${name} needs a matrix with two dimensions, not a vector`)
    for (const [j, entry] of row.entries()) {
      if (typeof entry === 'number') continue
      if (Array.isArray(entry)) throw new TypeError(`${name} needs a matrix with two dimensions, not more`)
      throw new TypeError(
        `${name} needs numbers, but the entry at ${place(i, j)} is a ${typeName(entry)}: ${cureFor(entry)}`,
      )
    }
  }
  const flat = fromRows(rows)
  return type === 'f32' ? narrowed(name, flat) : toFloat64(flat)
}

function narrowed(name: string, A: Matrix): Matrix {
  const B = toFloat32(A)
  const lost = B.data.findIndex((x, at) => !Number.isFinite(x) && Number.isFinite(A.data[at]))
  if (lost < 0) return B
  const where = placeOf(A, lost)
  throw new RangeError(`${name}: the entry at ${where} is ${A.data[lost]}, which 'f32' can't hold: use 'f64'`)
}

/** An entry as JavaScript and as expressions count it. */
const place = (i: number, j: number) => `[${i}, ${j}] (row ${i + 1}, column ${j + 1})`

/** The place of the entry at this index of the data. */
const placeOf = ({ columns }: Matrix, at: number) => place(Math.floor(at / columns), at % columns)

/** What mathjs calls the type of an entry: its classes have it on their prototypes. */
function typeName(entry: unknown): string {
  if (entry === null || typeof entry !== 'object') return entry === null ? 'null' : typeof entry
  return String((entry as { type?: unknown }).type ?? entry.constructor?.name ?? 'object')
}

const CURES: Record<string, string> = {
  Complex: 'give its real form [re, -im; im, re], which has each singular value twice',
  Unit: 'take the number in a unit of it first',
  null: 'put a number in its place',
  undefined: 'put a number in its place',
}

const cureFor = (entry: unknown) => CURES[typeName(entry)] ?? 'convert the matrix first, with number(A)'

/** Entries for mathjs's `help`, in the form of its embedded documentation. */
export const embeddedDocs = {
  svd: {
    name: 'svd',
    category: 'Matrix',
    syntax: ['svd(A)', 'svd(A, {vectors: "none"})', 'svd(A, {rank: r})'],
    description:
      'Singular value decomposition A = U * diag(S) * transpose(V) with orthonormal columns in U and V and ' +
      'non-negative singular values S in non-increasing order. With the option rank only the leading ones are kept, ' +
      'which gives the best approximation of A of that rank; with vectors: "none" only S is computed.',
    examples: ['svd([[1, 2], [3, 4]])', 'svd([[1, 2], [3, 4]]).S', 'svd([[1, 2], [3, 4]], {rank: 1})'],
    seealso: ['eigs', 'qr', 'pinv', 'floatMatrix'],
  },
  lowRank: {
    name: 'lowRank',
    category: 'Matrix',
    syntax: ['lowRank(A, {rank: r})', 'lowRank(A, {energy: share})', 'lowRank(A, {error: e})'],
    description:
      'The two factors B and A of the best low-rank approximation B * A of a matrix: of a rank, of the least rank that ' +
      'keeps a share of the squared Frobenius norm, or of the least rank within a relative error. The result also has ' +
      'the rank, and bounds of the error of the best approximation of that rank.',
    examples: ['lowRank([1, 2; 2, 4], {rank: 1})', 'lowRank([1, 2; 3, 4], {error: 0.1}).rank'],
    seealso: ['svd', 'rank'],
  },
  rank: {
    name: 'rank',
    category: 'Matrix',
    syntax: ['rank(A)', 'rank(A, tolerance)'],
    description:
      'The numerical rank: how many singular values exceed the tolerance, by default the largest one times the larger ' +
      'dimension times the rounding unit.',
    examples: ['rank([1, 2; 2, 4])', 'rank([1, 0; 0, 1e-9], 1e-6)'],
    seealso: ['svd', 'pinv'],
  },
  floatMatrix: {
    name: 'floatMatrix',
    category: 'Construction',
    syntax: ['floatMatrix(A)', 'floatMatrix(A, "f32")'],
    description:
      'A matrix of numbers kept in one typed array (Float64Array, or Float32Array for "f32"). It is a matrix like ' +
      'any other, and multiply, add, subtract, transpose and svd work on it without nested arrays.',
    examples: ['floatMatrix([[1, 2], [3, 4]])', 'floatMatrix([[1, 2], [3, 4]], "f32")'],
    seealso: ['matrix', 'svd'],
  },
}
