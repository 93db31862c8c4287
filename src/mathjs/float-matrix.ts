import { type FloatType, floatType, type Matrix, toRows } from '../linalg/matrix/matrix.ts'
import {
  defineFactory,
  type Extension,
  extend,
  flatten,
  type Nested,
  oncePerInstance,
  type Rows,
  type TypedFunctions,
  type WithMath,
} from './factory.ts'

/** A mathjs matrix over one typed array; everything a DenseMatrix can do, it can. */
export interface FloatMatrix {
  readonly isFloatMatrix: true
  /**
   * The entries as one row-major typed array. Until the next use as an ordinary mathjs matrix, this is the data. Throws
   * TypeError where that use has left anything but two dimensions of numbers.
   */
  readonly flat: Matrix
}

export type FloatMatrixClass = new (flat: Matrix) => FloatMatrix

/** What we use of mathjs's DenseMatrix, whose class mathjs doesn't type. */
export type DenseMatrixClass = new (
  data?: number[] | Nested | { data: Nested; size: number[] },
  datatype?: string,
) => { _size: number[]; toArray(): Nested; getDataType(): string }

/** What a factory needs to make a FloatMatrix. */
export interface WithMatrices {
  typed: TypedFunctions
  DenseMatrix: DenseMatrixClass
}

/** The class `FloatMatrix` of a mathjs instance, and the type of this name in its typed functions. */
export const floatMatrixClass = ({ typed, DenseMatrix }: WithMatrices): FloatMatrixClass =>
  oncePerInstance(typed, 'FloatMatrix', () => {
    // Before 'Matrix', else a signature for any Matrix would be tried first and win.
    typed.addTypes([{ name: 'FloatMatrix', test: isFloatMatrix }], 'Matrix')
    return floatMatrixOver(DenseMatrix)
  })

/**
 * mathjs keeps a DenseMatrix as nested arrays and its functions read and write `_data` freely; so exactly one of the two
 * forms exists at a time, and reading either converts to it. It names no datatype, though its entries are numbers: a
 * DenseMatrix that does lets mathjs add nothing but numbers to it.
 */
function floatMatrixOver(DenseMatrix: DenseMatrixClass): FloatMatrixClass {
  class FloatMatrix extends DenseMatrix {
    declare readonly type: 'FloatMatrix'
    declare readonly isFloatMatrix: true
    #flat: Matrix | null
    #nested: Nested | null = null
    readonly #float: FloatType

    constructor(flat: Matrix) {
      super()
      this.#flat = flat
      this.#float = floatType(flat)
      this._size = [flat.rows, flat.columns]
    }

    get flat(): Matrix {
      if (this.#flat === null) {
        this.#flat = flatten('FloatMatrix', this.#nested ?? [], this.#float)
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

    /** No need to look at each entry of a typed array. */
    override getDataType() {
      return this.#flat === null ? super.getDataType() : 'number'
    }

    /** A plain DenseMatrix, because mathjs's algorithms write into the `_data` of their clones. */
    clone() {
      return new DenseMatrix({ data: this.toArray(), size: [...this._size] })
    }

    override toArray(): Nested {
      return this.#flat === null ? super.toArray() : toRows(this.#flat)
    }

    override valueOf(): Nested {
      return this.toArray()
    }
  }
  Object.defineProperty(FloatMatrix, 'name', { value: 'FloatMatrix' })
  Object.assign(FloatMatrix.prototype, { type: 'FloatMatrix', isFloatMatrix: true })
  return FloatMatrix
}

/** Whether a value is a FloatMatrix of any mathjs instance. */
export function isFloatMatrix(value: unknown): value is FloatMatrix {
  return (value as Partial<FloatMatrix> | null)?.isFloatMatrix === true
}

/**
 * `floatMatrix(A [, 'f32' | 'f64'])`: an array of rows or any mathjs matrix as a FloatMatrix. Importing it also extends the
 * functions that are to know the type; so it is not put off until its first use.
 */
export const floatMatrixFactory = (extensions: readonly Extension[]) =>
  defineFactory(
    'floatMatrix',
    ['typed', 'DenseMatrix', 'math'],
    (given: WithMath) => {
      extend(extensions, given)
      return oncePerInstance(given.typed, 'floatMatrix', () => {
        const FloatMatrix = floatMatrixClass(given)
        const ofRows = (A: Nested, type = 'f64') =>
          new FloatMatrix(flatten('floatMatrix', A, checkType(type)))
        const ofMatrix = (A: Rows, type?: string) => ofRows(A.toArray(), type)
        return given.typed('floatMatrix', {
          Array: ofRows,
          'Array, string': ofRows,
          Matrix: ofMatrix,
          'Matrix, string': ofMatrix,
        })
      })
    },
    { lazy: false },
  )

function checkType(type: string): FloatType {
  if (type === 'f32' || type === 'f64') return type
  throw new TypeError(`floatMatrix keeps its entries as 'f64' (the default) or 'f32', not as '${type}'`)
}
