import type { FloatArray } from '../../linalg/matrix/matrix.ts'
import { jacobiFailed } from '../../linalg/svd/jacobi.ts'
import type { Kernels } from '../../linalg/svd/kernels.ts'
import { rootNotFound } from '../../linalg/svd/secular.ts'
import { eigenvalueNotFound } from '../../linalg/svd/tridiagonal-ql.ts'
import { withBlocks } from './memory.ts'
import type { WasmRuntime } from './wasm-engine.ts'

/** The iterations of the decompositions: vectors that lie elsewhere are copied in, and out again. */

const BYTES = 8

type Iterations = Pick<Kernels, 'tridiagonalQl' | 'secularRoots' | 'secularVectors' | 'orthogonalize'>

export function iterations({ heap, kernels, memory }: WasmRuntime): Iterations {
  const floats = (address: number, length: number) => new Float64Array(memory.buffer, address, length)
  const bytesOf = (...arrays: readonly FloatArray[]) => arrays.map(({ length }) => length * BYTES)

  return {
    tridiagonalQl(d, e, Z) {
      withBlocks(heap, bytesOf(d, e), (atD, atE) => {
        const [heldD, heldE] = [floats(atD, d.length), floats(atE, e.length)]
        heldD.set(d)
        heldE.set(e)
        const z = Z === undefined ? 0 : Z.data.byteOffset + Z.offset * BYTES
        const failed = kernels.tridiagonalQl(d.length, atD, atE, z, (Z?.stride ?? 0) * BYTES, Z?.columns ?? 0)
        if (failed >= 0) throw eigenvalueNotFound(failed, d.length)
        d.set(heldD)
        e.set(heldE)
      })
    },
    secularRoots({ d, z2, rho }, S) {
      const n = d.length
      return withBlocks(heap, bytesOf(d, z2, d), (atD, atZ2, atRoots) => {
        floats(atD, n).set(d)
        floats(atZ2, n).set(z2)
        const s = S.data.byteOffset + S.offset * BYTES
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
        const s = S.data.byteOffset + S.offset * BYTES
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
