import { describe, expect, it } from 'vitest'
import { createLapackEngine } from '../../src/engine/lapack/lapack-engine.ts'
import {
  candidateLibraries,
  type System,
  setUpVendor,
  setVariables,
} from '../../src/engine/lapack/library.ts'
import { bindLapack, type Koffi } from '../../src/engine/lapack/symbols.ts'
import { LoraSvdError } from '../../src/errors.ts'

const system = (platform: NodeJS.Platform, arch = 'x64', env: System['env'] = {}): System => ({
  platform,
  arch,
  env,
})

describe('candidate libraries', () => {
  it('leaves names to the loader on Linux, tuned libraries before the system’s choice', () => {
    const found = candidateLibraries(system('linux'))
    expect(found[0]).toBe('libopenblas.so.0')
    expect(found).toContain('libmkl_rt.so.2')
    expect(found).toContain('/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0')
    expect(found.indexOf('liblapack.so.3')).toBeGreaterThan(found.indexOf('libmkl_rt.so.2'))
  })

  it('knows the folders of other processors', () => {
    expect(candidateLibraries(system('linux', 'arm64'))).toContain(
      '/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0',
    )
    expect(candidateLibraries(system('linux', 's390x')).join()).not.toContain('undefined')
    expect(candidateLibraries(system('darwin', 'arm64'))).toContain(
      '/opt/homebrew/opt/openblas/lib/libopenblas.dylib',
    )
    expect(candidateLibraries(system('darwin', 'x64'))).toContain(
      '/usr/local/opt/openblas/lib/libopenblas.dylib',
    )
  })

  it('takes Apple’s Accelerate first', () => {
    expect(candidateLibraries(system('darwin', 'arm64'))[0]).toBe(
      '/System/Library/Frameworks/Accelerate.framework/Accelerate',
    )
  })

  it('looks on Windows in the folders of PATH, by absolute path only', () => {
    const PATH = 'C:\\OpenBLAS\\bin;.;relative;D:\\tools'
    const found = candidateLibraries(system('win32', 'x64', { PATH }))
    expect(found[0]).toBe('C:\\OpenBLAS\\bin\\libopenblas.dll')
    expect(found).toContain('D:\\tools\\mkl_rt.2.dll')
    expect(found.every((path) => /^[CD]:\\/.test(path))).toBe(true)
    expect(candidateLibraries(system('win32'))).toEqual([])
  })

  it('never asks a loader that searches the working directory for a bare name', () => {
    for (const path of candidateLibraries(system('darwin', 'arm64', { CONDA_PREFIX: '/conda' }))) {
      expect(path.startsWith('/')).toBe(true)
    }
  })

  it('prefers an active conda environment, and MKLROOT over MKL’s usual place', () => {
    const env = { CONDA_PREFIX: '/conda', MKLROOT: '/mkl' }
    const found = candidateLibraries(system('linux', 'x64', env))
    expect(found[0]).toBe('/conda/lib/libopenblas.so.0')
    expect(found).toContain('/mkl/lib/libmkl_rt.so.2')
    expect(candidateLibraries(system('darwin', 'x64', env))).toContain('/conda/lib/libopenblas.dylib')
    expect(candidateLibraries(system('win32', 'x64', { CONDA_PREFIX: 'C:\\conda' }))[0]).toBe(
      'C:\\conda\\Library\\bin\\libopenblas.dll',
    )
  })

  it('has only what LORA_SVD_LAPACK names, on every system', () => {
    const env = { LORA_SVD_LAPACK: '/x/liblapack.so', CONDA_PREFIX: '/conda', PATH: 'C:\\' }
    for (const platform of ['linux', 'darwin', 'win32'] as const) {
      expect(candidateLibraries(system(platform, 'x64', env))).toEqual(['/x/liblapack.so'])
    }
    expect(candidateLibraries(system('linux', 'x64', { LORA_SVD_LAPACK: '' })).length).toBeGreaterThan(1)
  })
})

type Native = (...args: never[]) => unknown
type Symbols = Record<string, Native>

/** Every routine that is looked for, as one that does nothing, spelled by `spell`. */
function allRoutines(spell: (name: string) => string): Symbols {
  const names = ['sgemm', 'dgemm', 'dsyrk', 'dgesdd', 'dgesvd', 'dsyevd', 'dgeqrf', 'dorgqr']
  return Object.fromEntries(names.map((name) => [spell(name), () => undefined]))
}

/** Koffi with libraries made of JavaScript functions; what it can't find it refuses as the real one does. */
function fakeKoffi(libraries: Record<string, Symbols>): Koffi & { loaded: string[] } {
  const loaded: string[] = []
  const load = (path: string) => {
    loaded.push(path)
    const symbols = libraries[path]
    if (symbols === undefined) throw new Error('Failed to load shared library: no such file\ndetails')
    const symbol = (name: string) => {
      if (symbols[name] === undefined) throw new Error(`Cannot find function '${name}' in shared library`)
      return symbols[name]
    }
    return { symbol, func: symbol }
  }
  return { loaded, load: load as unknown as Koffi['load'] }
}

const ilaver32: Native = (...words: Int32Array[]) => {
  words.forEach((word, i) => {
    word[0] = [3, 11, 0][i]
  })
}
const ilaver64: Native = (...words: Int32Array[]) => {
  words.forEach((word, i) => {
    new BigInt64Array(word.buffer)[0] = [3n, 11n, 0n][i]
  })
}

const bindFake = (symbols: Symbols) => bindLapack(fakeKoffi({ lib: symbols }).load('lib'))

describe('binding', () => {
  it('tells 32-bit from 64-bit integers by what ILAVER writes', () => {
    const spell = (name: string) => `${name}_`
    const narrow = bindFake({ ...allRoutines(spell), ilaver_: ilaver32 })
    expect([narrow?.lapack.integers, narrow?.version]).toEqual(['lp64', '3.11.0'])
    const wide = bindFake({ ...allRoutines(spell), ilaver_: ilaver64 })
    expect([wide?.lapack.integers, wide?.version]).toEqual(['ilp64', '3.11.0'])
  })

  it.each(['', '_', '_64_', '_64', '$NEWLAPACK'])('finds routines with the suffix "%s"', (suffix) => {
    const symbols = { ...allRoutines((name) => name + suffix), [`ilaver${suffix}`]: ilaver32 }
    expect(bindFake(symbols)).not.toBeNull()
  })

  it.each(['_', '_64_'])('finds SciPy’s routines with the suffix "%s"', (suffix) => {
    const spell = (name: string) => `scipy_${name}${suffix}`
    expect(bindFake({ ...allRoutines(spell), [spell('ilaver')]: ilaver64 })).not.toBeNull()
  })

  it('is null when one routine is missing, or spelled unlike the others', () => {
    const spell = (name: string) => `${name}_`
    const complete: Symbols = { ...allRoutines(spell), ilaver_: ilaver32 }
    for (const name of Object.keys(complete)) {
      const { [name]: missing, ...rest } = complete
      expect(missing).toBeDefined()
      expect(bindFake(rest)).toBeNull()
      expect(bindFake({ ...rest, [`${name}64`]: missing })).toBeNull()
    }
  })

  it.each([
    ['lp64', ilaver32, 7, Int32Array],
    ['ilp64', ilaver64, 7n, BigInt64Array],
  ] as const)(
    'passes arguments by reference, as %s, the lengths of characters by value',
    (_, ilaver, seven, Integer) => {
      const calls: unknown[][] = []
      const record: Native = (...args: unknown[]) => {
        calls.push(args.map((arg) => (ArrayBuffer.isView(arg) ? (arg as Int32Array).slice() : arg)))
      }
      const spell = (name: string) => `${name}_`
      const bound = bindFake({ ...allRoutines(spell), ilaver_: ilaver, dsyrk_: record })
      const array = Float64Array.of(1.5)
      bound?.lapack.call('dsyrk', 'L', 'N', 7, 8, array, array, 9, array, array, 10)
      const [uplo, trans, n, , alpha, , , , , , ...lengths] = calls[0]
      expect([uplo, trans]).toEqual([Uint8Array.of(76), Uint8Array.of(78)])
      expect(n).toBeInstanceOf(Integer)
      expect((n as Int32Array)[0]).toBe(seven)
      expect(alpha).toEqual(array)
      expect(lengths).toEqual([1, 1])
    },
  )

  it('refuses a count that 32 bits can’t hold', () => {
    const spell = (name: string) => `${name}_`
    const narrow = bindFake({ ...allRoutines(spell), ilaver_: ilaver32 })?.lapack
    const wide = bindFake({ ...allRoutines(spell), ilaver_: ilaver64 })?.lapack
    expect(() => narrow?.call('dsyrk', 2 ** 31 - 1)).not.toThrow()
    expect(() => narrow?.call('dsyrk', 2 ** 31)).toThrow(LoraSvdError)
    expect(() => narrow?.call('dsyrk', 2 ** 31)).toThrow(/dsyrk.*2147483648.*32 bits/)
    expect(() => wide?.call('dsyrk', 2 ** 31)).not.toThrow()
  })
})

/** The reason of a result that has no engine; always one line. */
function reasonOf(options: Parameters<typeof createLapackEngine>[0]): string {
  const result = createLapackEngine(options)
  if (!('reason' in result)) throw new Error(`found ${result.library.path}`)
  expect(result.reason).toMatch(/^.+$/)
  return result.reason
}

describe('reasons', () => {
  it('says when koffi is not installed, and looks for nothing', () => {
    const loadKoffi = () => {
      throw new Error("Cannot find module 'koffi'\nRequire stack: …")
    }
    expect(reasonOf({ loadKoffi })).toBe(
      "the optional package koffi can't be loaded (Cannot find module 'koffi'); run npm install koffi",
    )
  })

  it('says when there is no library, after trying every candidate', () => {
    const koffi = fakeKoffi({})
    const linux = system('linux')
    expect(reasonOf({ loadKoffi: () => koffi, system: linux })).toBe(
      'no LAPACK library found; install OpenBLAS, or name one in LORA_SVD_LAPACK',
    )
    expect(koffi.loaded).toEqual(candidateLibraries(linux))
  })

  it('says why the library that LORA_SVD_LAPACK names is refused, and tries no other', () => {
    const koffi = fakeKoffi({ '/x/libm.so': {} })
    const named = (LORA_SVD_LAPACK: string) => system('linux', 'x64', { LORA_SVD_LAPACK })
    expect(reasonOf({ loadKoffi: () => koffi, system: named('/x/libm.so') })).toBe(
      "the library that LORA_SVD_LAPACK names can't be used: /x/libm.so lacks routines of BLAS or LAPACK",
    )
    expect(reasonOf({ loadKoffi: () => koffi, system: named('/gone.so') })).toBe(
      "the library that LORA_SVD_LAPACK names can't be used: /gone.so: Failed to load shared library: no such file",
    )
    expect(koffi.loaded).toEqual(['/x/libm.so', '/gone.so'])
    expect(reasonOf({ loadKoffi: () => koffi, library: '/x/libm.so' })).toMatch(/^\/x\/libm\.so lacks/)
  })

  it('refuses a library whose answers are wrong', () => {
    const idle = { ...allRoutines((name) => `${name}_`), ilaver_: ilaver32 }
    const koffi = fakeKoffi({ 'libopenblas.so.0': idle })
    expect(reasonOf({ loadKoffi: () => koffi, system: system('linux') })).toBe(
      'no usable LAPACK library: libopenblas.so.0 gets the float64 product of a small known matrix wrong',
    )
  })

  it('refuses a library that fails outright', () => {
    const fail = () => {
      throw new Error('no such luck')
    }
    const broken = { ...allRoutines((name) => `${name}_`), ilaver_: ilaver32, dgemm_: fail }
    const koffi = fakeKoffi({ 'libopenblas.so.0': broken })
    expect(reasonOf({ loadKoffi: () => koffi, system: system('linux') })).toBe(
      'no usable LAPACK library: libopenblas.so.0 failed on a small known matrix (no such luck)',
    )
  })
})

describe('vendors', () => {
  const setUp = (symbols: Symbols, path = 'lib') =>
    setUpVendor(fakeKoffi({ [path]: symbols }).load(path), path, 3, '3.11.0')

  it.each([
    (name: string) => name,
    (name: string) => `${name}64_`,
    (name: string) => `scipy_${name}`,
    (name: string) => `scipy_${name}64_`,
  ])('OpenBLAS, spelling %#: sets the threads and reads back what it made of them', (spell) => {
    let threads = 8
    const vendor = setUp({
      [spell('openblas_get_config')]: () => ' OpenBLAS 0.3.21 Zen ',
      [spell('openblas_set_num_threads')]: (count: number) => {
        threads = Math.min(count, 2)
      },
      [spell('openblas_get_num_threads')]: () => threads,
    })
    expect(vendor).toEqual({ version: 'OpenBLAS 0.3.21 Zen', threads: 2 })
  })

  it('MKL: its version ends at the zero byte', () => {
    let threads = 8
    const vendor = setUp({
      MKL_Get_Version_String: (text: Uint8Array, length: number) => {
        expect(text.length).toBe(length)
        text.fill(0x20)
        text.set(Buffer.from('oneAPI MKL 2024.0\0'), 1)
      },
      MKL_Set_Num_Threads: (count: number) => {
        threads = count
      },
      MKL_Get_Max_Threads: () => threads,
    })
    expect(vendor).toEqual({ version: 'oneAPI MKL 2024.0', threads: 3 })
  })

  it('the reference library has one thread; Accelerate those of the environment', () => {
    expect(setUp({})).toEqual({ version: 'LAPACK 3.11.0', threads: 1 })
    const before = process.env.VECLIB_MAXIMUM_THREADS
    const accelerate = '/System/Library/Frameworks/Accelerate.framework/Accelerate'
    try {
      delete process.env.VECLIB_MAXIMUM_THREADS
      setVariables('lib', 3)
      expect(process.env.VECLIB_MAXIMUM_THREADS).toBeUndefined()
      setVariables(accelerate, 3)
      setVariables(accelerate, 4)
      expect(process.env.VECLIB_MAXIMUM_THREADS).toBe('3')
      expect(setUp({}, accelerate)).toEqual({ version: 'LAPACK 3.11.0', threads: 3 })
    } finally {
      if (before === undefined) delete process.env.VECLIB_MAXIMUM_THREADS
      else process.env.VECLIB_MAXIMUM_THREADS = before
    }
  })
})
