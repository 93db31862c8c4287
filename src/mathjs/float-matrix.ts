import {
  type FloatType,
  floatType,
  fromRows,
  type Matrix,
  toFloat32,
  toFloat64,
  toRows,
} from '../matrix/matrix.ts'
import { defineFactory, type TypedFunctions } from './define-factory.ts'

/** A mathjs matrix over one typed array; everything a DenseMatrix can do, it can. */
export interface FloatMatrix {
  readonly isFloatMatrix: true
  /** The entries as one row-major typed array. Until the next use as an ordinary mathjs matrix, this is the data. */
  readonly flat: Matrix
}

export type FloatMatrixClass = new (flat: Matrix) => FloatMatrix

type Nested = number[][]
/** What we use of mathjs's DenseMatrix, whose class mathjs doesn't type. */
type DenseMatrixClass = new (
  data?: Nested | { data: Nested; size: number[]; datatype: string },
  datatype?: string,
) => { _size: number[] }

/**
 * The class `FloatMatrix`. mathjs keeps a DenseMatrix as nested arrays and its functions read and write `_data`
 * freely; so exactly one of the two forms exists at a time, and reading either converts to it.
 */
export const createFloatMatrixClass = defineFactory(
  'FloatMatrix',
  ['DenseMatrix', 'typed'],
  ({ DenseMatrix, typed }: { DenseMatrix: DenseMatrixClass; typed: TypedFunctions }) => {
    class FloatMatrix extends DenseMatrix {
      declare readonly type: 'FloatMatrix'
      declare readonly isFloatMatrix: true
      #flat: Matrix | null
      #nested: Nested | null = null
      readonly #float: FloatType

      constructor(flat: Matrix) {
        super(undefined, 'number')
        this.#flat = flat
        this.#float = floatType(flat)
        this._size = [flat.rows, flat.columns]
      }

      get flat(): Matrix {
        if (this.#flat === null) {
          this.#flat = flatten(this.#nested ?? [], this.#float)
          this.#nested = null
        }
        return this.#flat
      }

      get _data(): Nested {
        if (this.#nested === null) {
          this.#nested = toRows(this.flat)
          this.#flat = null
        }
        return this.#nested
      }

      set _data(rows: Nested) {
        // The constructor of DenseMatrix sets an empty `_data` before the fields of this class exist.
        if (!(#nested in this)) return
        this.#nested = rows
        this.#flat = null
      }

      /** Entries are always numbers: no need to look at each. */
      getDataType() {
        return 'number'
      }

      /** A plain DenseMatrix, because mathjs's algorithms write into the `_data` of their clones. */
      clone() {
        return new DenseMatrix({ data: this.toArray(), size: [...this._size], datatype: 'number' })
      }

      toArray(): Nested {
        return this.#flat === null ? structuredClone(this._data) : toRows(this.#flat)
      }

      override valueOf(): Nested {
        return this.toArray()
      }
    }
    Object.defineProperty(FloatMatrix, 'name', { value: 'FloatMatrix' })
    Object.assign(FloatMatrix.prototype, { type: 'FloatMatrix', isFloatMatrix: true })
    // Before 'Matrix', else a signature for any Matrix would be tried first and win.
    typed.addTypes([{ name: 'FloatMatrix', test: isFloatMatrix }], 'Matrix')
    return FloatMatrix
  },
  { isClass: true },
)

/** Whether a value is a FloatMatrix of any mathjs instance. */
export function isFloatMatrix(value: unknown): value is FloatMatrix {
  return (value as Partial<FloatMatrix> | null)?.isFloatMatrix === true
}

/** `floatMatrix(A [, 'f32' | 'f64'])`: an array of rows or any mathjs matrix as a FloatMatrix. */
export const createFloatMatrix = defineFactory(
  'floatMatrix',
  ['typed', 'FloatMatrix'],
  ({ typed, FloatMatrix }: { typed: TypedFunctions; FloatMatrix: FloatMatrixClass }) => {
    const convert = (A: Nested, type: FloatType) => new FloatMatrix(flatten(A, type))
    return typed('floatMatrix', {
      Array: (A: Nested) => convert(A, 'f64'),
      'Array, string': convert,
      Matrix: (A: { toArray(): Nested }) => convert(A.toArray(), 'f64'),
      'Matrix, string': (A: { toArray(): Nested }, type: FloatType) => convert(A.toArray(), type),
    })
  },
)

/** A mathjs array or matrix of numbers as a flat one. Throws TypeError on entries that aren't numbers. */
export function flatten(rows: Nested, type: FloatType = 'f64'): Matrix {
  for (const row of rows) {
    if (!Array.isArray(row)) throw new TypeError('expected a matrix with two dimensions')
    for (const entry of row) {
      if (typeof entry !== 'number')
        throw new TypeError(`expected a matrix of numbers, found ${typeof entry}`)
    }
  }
  const flat = fromRows(rows)
  return type === 'f32' ? toFloat32(flat) : toFloat64(flat)
}
