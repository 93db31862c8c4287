import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { createLapackEngine, type LapackLibrary } from '../../src/engine/lapack/lapack-engine.ts'
import { selfCheck } from '../../src/engine/lapack/self-check.ts'
import type { Engine } from '../../src/linalg/engine.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
} from '../../src/linalg/matrix/matrix.ts'
import { describeLapack } from './lapack-suite.ts'
import { generator, randomMatrix } from './support.ts'

describeLapack({
  library: testLibrary,
  'self-check': testSelfCheck,
  memory: testMemory,
})

function testLibrary(engine: Engine, library: LapackLibrary): void {
  it('describes itself', () => {
    expect(engine.name).toBe('lapack')
    expect(engine.threads).toBe(library.threads)
    expect(library.version).toMatch(/\d+\.\d+/)
    expect(['lp64', 'ilp64']).toContain(library.integers)
  })

  it('uses as many threads as it is told to, where the library can be told', () => {
    const one = createLapackEngine({ threads: 1, library: library.path })
    expect('library' in one && one.library.threads).toBe(1)
    const again = createLapackEngine({ threads: library.threads, library: library.path })
    expect('library' in again && again.library.threads).toBe(library.threads)
  })

  it('is taken where it has been checked, and looked for where that can no longer be had', () => {
    const { threads } = library
    const taken = createLapackEngine({ threads, checked: library.path })
    expect('library' in taken && taken.library).toEqual(library)
    const found = createLapackEngine({ threads, checked: '/no/such/liblapack.so' })
    expect('library' in found && found.library).toEqual(library)
  })

  it('refuses a real library that is no LAPACK', () => {
    const mathLibrary = { linux: 'libm.so.6', darwin: '/usr/lib/libSystem.B.dylib', win32: 'kernel32.dll' }
    const name = mathLibrary[process.platform as keyof typeof mathLibrary] ?? 'libm.so'
    const refused = createLapackEngine({ library: name })
    expect('reason' in refused && refused.reason).toBe(`${name} lacks routines of BLAS or LAPACK`)
  })

  it('refuses a path where there is nothing', () => {
    const refused = createLapackEngine({ library: '/no/such/liblapack.so' })
    expect('reason' in refused && refused.reason).toMatch(/^\/no\/such\/liblapack\.so: .+$/)
  })
}

function testSelfCheck(engine: Engine): void {
  const nudge = (A: Float64Matrix): Float64Matrix => ({
    ...A,
    data: A.data.map((a, i) => (i === 1 ? a + 1e-9 : a)),
  })
  const sabotaged: [string, Partial<Engine>][] = [
    ['float64 product', { multiply: (A, B, how) => nudge(toFloat64(engine.multiply(A, B, how))) }],
    ['Gram product', { gram: (A) => nudge(engine.gram(A)) }],
    ['QR', { qr: (A) => ({ ...engine.qr(A), Q: nudge(engine.qr(A).Q) }) }],
    [
      'eigenvalue decomposition',
      {
        symmetricEigen: (G, vectors) => ({
          ...engine.symmetricEigen(G, vectors),
          vectors: transpose(engine.symmetricEigen(G, vectors).vectors),
        }),
      },
    ],
    ['SVD', { svd: (A, vectors) => ({ ...engine.svd(A, vectors), U: nudge(engine.svd(A, vectors).U) }) }],
    ['SVD', { svd: (A, vectors) => ({ ...engine.svd(A, vectors), S: new Float64Array(A.columns) }) }],
  ]
  it('passes', () => {
    expect(selfCheck(engine)).toBeNull()
  })

  it.each(sabotaged.map(([what, change], i) => [i, what, change] as const))(
    'notices sabotage %i, of the %s',
    (_, what, change) => {
      expect(selfCheck({ ...engine, ...change })).toBe(`gets the ${what} of a small known matrix wrong`)
    },
  )
}

function testMemory(engine: Engine): void {
  it('does not grow over 10,000 small calls', () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const A = randomMatrix(40, 40, 'f64', generator(14)) as Matrix<FloatArray>
    const small = matrix(4, 3, A.data.slice(0, 12))
    const calls = (count: number) => {
      for (let i = 0; i < count; i++) {
        engine.multiply(A, A)
        engine.svd(small, 'thin')
      }
      collect()
      return process.memoryUsage().rss
    }
    const before = calls(2000)
    // Results alone are 128 MB, so a leak of any part of a call shows.
    expect(calls(10_000) - before).toBeLessThan(32 * 2 ** 20)
  })
}
