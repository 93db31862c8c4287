import type { FloatArray } from '../../linalg/matrix/matrix.ts'
import { fallingMagnitudes, valueNotFound } from '../../linalg/svd/bidiagonal.ts'
import { jacobiFailed } from '../../linalg/svd/jacobi.ts'
import type { Block, Kernels } from '../../linalg/svd/kernels.ts'
import { rootNotFound } from '../../linalg/svd/secular.ts'
import { eigenvalueNotFound } from '../../linalg/svd/tridiagonal-ql.ts'
import { withBlocks } from './memory.ts'
import type { WasmRuntime } from './wasm-engine.ts'

/** What the decompositions do in many small steps: vectors that lie elsewhere are copied in, and out again. */

const BYTES = 8

export const addressOf = ({ data, offset }: Block): number => data.byteOffset + offset * BYTES

type Iterations = Pick<
  Kernels,
  | 'factorPanel'
  | 'reducePanel'
  | 'tridiagonalQl'
  | 'singularValues'
  | 'inverseIteration'
  | 'secularRoots'
  | 'secularVectors'
  | 'orthogonalize'
>

export function iterations({ heap, kernels, memory }: WasmRuntime): Iterations {
  const floats = (address: number, length: number) => new Float64Array(memory.buffer, address, length)
  const bytesOf = (...arrays: readonly FloatArray[]) => arrays.map(({ length }) => length * BYTES)

  return {
    factorPanel(panel, tau) {
      const { rows, columns } = panel
      withBlocks(heap, [rows * BYTES, rows * BYTES], (atTau, products) => {
        kernels.factorPanel(rows, columns, addressOf(panel), panel.stride * BYTES, atTau, products)
        tau.set(floats(atTau, rows))
      })
    },
    reducePanel(G, start, VW, { diagonal, offDiagonal, tau }) {
      const b = VW.rows / 2
      const outputs = [diagonal, offDiagonal, tau]
      withBlocks(
        heap,
        [b, b, b, 2 * b].map((length) => length * BYTES),
        (...addresses) => {
          const [atDiagonal, atOff, atTau, scratch] = addresses
          const [g, stride, vw] = [addressOf(G), G.stride * BYTES, addressOf(VW)]
          kernels.reducePanel(G.rows, g, stride, start, b, vw, atDiagonal, atOff, atTau, scratch)
          outputs.forEach((array, i) => {
            const count = Math.min(b, array.length - start)
            if (count > 0) array.set(floats(addresses[i], count), start)
          })
        },
      )
    },
    tridiagonalQl(d, e, Z) {
      withBlocks(heap, bytesOf(d, e), (atD, atE) => {
        const [heldD, heldE] = [floats(atD, d.length), floats(atE, e.length)]
        heldD.set(d)
        heldE.set(e)
        const z = Z === undefined ? 0 : addressOf(Z)
        const failed = kernels.tridiagonalQl(d.length, atD, atE, z, (Z?.stride ?? 0) * BYTES, Z?.columns ?? 0)
        if (failed >= 0) throw eigenvalueNotFound(failed, d.length)
        d.set(heldD)
        e.set(heldE)
      })
    },
    singularValues(X) {
      const [n, m] = [X.rows, X.columns]
      return withBlocks(heap, [3 * n * BYTES, m * BYTES], (d, w) => {
        const [e, u] = [d + n * BYTES, d + 2 * n * BYTES]
        const failed = kernels.singularValues(n, m, addressOf(X), d, e, u, w)
        if (failed >= 0) throw valueNotFound(failed, n)
        return fallingMagnitudes(floats(d, n).slice())
      })
    },
    inverseIteration({ diagonal, offDiagonal, reflectors, tau }, values, Z) {
      const n = diagonal.length
      const inputs = [diagonal, offDiagonal, tau, values]
      return withBlocks(heap, [...bytesOf(...inputs), 5 * n * BYTES], (...addresses) => {
        const [d, e, atTau, atValues, scratch] = addresses
        inputs.forEach((array, i) => {
          floats(addresses[i], array.length).set(array)
        })
        const [rows, stride] = [addressOf(reflectors), reflectors.stride * BYTES]
        const [count, z] = [Z.rows, addressOf(Z)]
        return kernels.inverseIteration(n, d, e, rows, stride, atTau, count, atValues, z, scratch) !== 0
      })
    },
    secularRoots({ d, z2, rho }, S) {
      const n = d.length
      return withBlocks(heap, bytesOf(d, z2, d), (atD, atZ2, atRoots) => {
        floats(atD, n).set(d)
        floats(atZ2, n).set(z2)
        const s = addressOf(S)
        const failed = kernels.secularRoots(n, atD, atZ2, rho, s, atRoots)
        if (failed >= 0) throw rootNotFound(failed, n)
        return floats(atRoots, n).slice()
      })
    },
    secularVectors(d, z, S, position, needed) {
      const n = d.length
      withBlocks(heap, bytesOf(d, z, d, d, d), (atD, atZ, atPosition, exact, vector) => {
        floats(atD, n).set(d)
        floats(atZ, n).set(z)
        new Int32Array(memory.buffer, atPosition, n).set(position)
        const s = addressOf(S)
        kernels.secularVectors(n, atD, atZ, s, atPosition, needed, exact, vector)
      })
    },
    orthogonalize(work, rotations) {
      const { rows: n, columns: m } = work
      const turned = rotations?.data ?? new Float64Array(0)
      const sizes = [...bytesOf(work.data, turned), n * BYTES]
      withBlocks(heap, sizes, (atWork, atRotations, squares) => {
        const heldWork = floats(atWork, work.data.length)
        const heldRotations = floats(atRotations, turned.length)
        heldWork.set(work.data)
        heldRotations.set(turned)
        const at = rotations === null ? 0 : atRotations
        if (kernels.orthogonalize(n, m, atWork, at, squares) === 0) throw jacobiFailed(n, m)
        work.data.set(heldWork)
        turned.set(heldRotations)
      })
    },
  }
}
