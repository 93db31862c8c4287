import { LoraSvdError } from '../../errors.ts'
import type { Svd, SymmetricEigen, Vectors } from '../../linalg/engine.ts'
import { requireFinite } from '../../linalg/matrix/finite.ts'
import { type Float64Matrix, type Matrix, transpose, zeros } from '../../linalg/matrix/matrix.ts'
import { fixSigns } from '../../linalg/svd/scaling.ts'
import type { Argument, Lapack, Routine } from './symbols.ts'

const NOTHING = new Float64Array(1)

/**
 * The thin SVD by divide and conquer (DGESDD), or by QR iteration (DGESVD) should that not converge. In float64
 * whatever A is stored in: the results are float64, and single precision would leave them only half of the digits.
 * Row-major A is Aᵀ to the library, so its left vectors are the columns of V, and its right ones, transposed, U.
 * |error of S| ≤ p·eps·S(0), eps = 2⁻⁵³; the routine itself scales very large and very small A.
 *
 * Memory beside the results: a float64 copy of A and, with vectors, about 4·n² numbers, n = min(m, k).
 * Throws LoraSvdError 'not-finite' on NaN and infinity, 'no-convergence' should both routines fail.
 */
export function svd(lapack: Lapack, A: Matrix, vectors: Vectors): Svd {
  requireFinite(A)
  const { rows: m, columns: k } = A
  const n = Math.min(m, k)
  const S = new Float64Array(n)
  const thin = vectors === 'thin'
  const U = thin ? zeros(m, n) : zeros(0, 0)
  const Vt = thin ? zeros(n, k) : zeros(0, 0)
  if (n > 0) {
    const job = thin ? 'S' : 'N'
    // k rows, m columns; then the leading dimensions of the library's U and VT
    const results = [S, thin ? Vt.data : NOTHING, k, thin ? U.data : NOTHING, n]
    const iwork = lapack.integerArray(8 * n)
    const first = run(lapack, 'dgesdd', [job, k, m, new Float64Array(A.data), k, ...results], [iwork])
    if (first !== 0) {
      const second = run(lapack, 'dgesvd', [job, job, k, m, new Float64Array(A.data), k, ...results])
      if (second !== 0) throw notConverged('the SVD', A, 'dgesdd and dgesvd')
    }
  }
  const V = transpose(Vt)
  fixSigns(U, V)
  return { U, S, V }
}

/**
 * Eigenvalues, ascending, and eigenvectors by divide and conquer (DSYEVD); |error| ≤ p·eps·‖G‖. Only one triangle of G is
 * read. Throws LoraSvdError 'not-finite' on NaN and infinity, 'no-convergence' should the iteration fail.
 */
export function symmetricEigen(lapack: Lapack, G: Float64Matrix, vectors: Vectors): SymmetricEigen {
  if (G.rows !== G.columns) throw new RangeError(`a ${G.rows}×${G.columns} matrix isn't symmetric`)
  requireFinite(G)
  const n = G.rows
  const values = new Float64Array(n)
  const Q = { rows: n, columns: n, data: G.data.slice() }
  if (n > 0) {
    const job = vectors === 'thin' ? 'V' : 'N'
    const info = runWithIntegers(lapack, 'dsyevd', [job, 'L', n, Q.data, n, values])
    if (info !== 0) throw notConverged('the eigenvalues', G, 'dsyevd')
  }
  // The library leaves the vectors in columns, which are rows here.
  return { values, vectors: vectors === 'thin' ? transpose(Q) : zeros(0, 0) }
}

/**
 * The thin Householder QR of A [m, n], m ≥ n, in float64 (DGEQRF, DORGQR). A is transposed into the library's layout and
 * Q back: the LQ of Aᵀ would spare that, and takes 1.2 to 1.5 times as long. Throws RangeError when m < n.
 */
export function qr(lapack: Lapack, A: Matrix): { Q: Float64Matrix; R: Float64Matrix } {
  const { rows: m, columns: n } = A
  if (m < n) throw new RangeError(`the QR needs at least as many rows as columns, got ${m}×${n}`)
  const R = zeros(n, n)
  if (n === 0) return { Q: zeros(m, 0), R }
  const Qt = { rows: n, columns: m, data: new Float64Array(transpose(A).data) }
  const tau = new Float64Array(n)
  run(lapack, 'dgeqrf', [m, n, Qt.data, m, tau])
  for (let j = 0; j < n; j++) for (let i = 0; i <= j; i++) R.data[i * n + j] = Qt.data[j * m + i]
  run(lapack, 'dorgqr', [m, n, n, Qt.data, m, tau])
  return { Q: transpose(Qt), R }
}

/**
 * Asks a routine for its best workspace, then runs it. Its arguments end in WORK, LWORK, `last`, INFO. Returns INFO, > 0
 * where an iteration failed; INFO < 0 is a defect of this file.
 */
function run(lapack: Lapack, routine: Routine, args: Argument[], last: Argument[] = []): number {
  const size = new Float64Array(1)
  checkArguments(routine, lapack.info(routine, ...args, size, -1, ...last))
  const work = workspace(routine, size[0])
  return checkArguments(routine, lapack.info(routine, ...args, work, work.length, ...last))
}

/** The same for a routine whose workspace of integers is asked for too: WORK, LWORK, IWORK, LIWORK, INFO. */
function runWithIntegers(lapack: Lapack, routine: Routine, args: Argument[]): number {
  const size = new Float64Array(1)
  const integerSize = lapack.integerArray(1)
  checkArguments(routine, lapack.info(routine, ...args, size, -1, integerSize, -1))
  const work = workspace(routine, size[0])
  const iwork = lapack.integerArray(Number(integerSize[0]))
  return checkArguments(routine, lapack.info(routine, ...args, work, work.length, iwork, iwork.length))
}

/** Room for `length` numbers. Throws LoraSvdError 'system' when the library's own 32-bit count of them ran over. */
function workspace(routine: Routine, length: number): Float64Array {
  if (length < 1) {
    throw new LoraSvdError(
      'system',
      `${routine} needs more workspace than this LAPACK library's 32-bit integers can count; use --engine wasm`,
    )
  }
  return new Float64Array(length)
}

function checkArguments(routine: Routine, info: number): number {
  if (info < 0) throw new Error(`${routine} refused its argument ${-info}: a defect of lora-svd`)
  return info
}

function notConverged(what: string, A: Matrix, routines: string): LoraSvdError {
  return new LoraSvdError(
    'no-convergence',
    `${what} of a ${A.rows}×${A.columns} matrix did not converge in LAPACK's ${routines}; try --engine wasm`,
  )
}
