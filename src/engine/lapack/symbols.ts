import type { LibraryHandle } from 'koffi'
import { LoraSvdError } from '../../errors.ts'

/** What of koffi is used: it is loaded only when this engine is asked for, so only its type is imported. */
export type Koffi = Pick<typeof import('koffi'), 'load'>

/** The width of a Fortran INTEGER in the library: 32 bits (LP64) or 64 (ILP64). */
export type Integers = 'lp64' | 'ilp64'

/**
 * The routines that are called, each with its arguments: `c` CHARACTER*1, `i` INTEGER, `p` an array or a real
 * scalar. Fortran passes all by reference, and compilers append the length of each CHARACTER by value.
 */
const ROUTINES = {
  // transa transb m n k alpha A lda B ldb beta C ldc
  sgemm: 'cciiippipippi',
  dgemm: 'cciiippipippi',
  // uplo trans n k alpha A lda beta C ldc
  dsyrk: 'cciippippi',
  // jobz m n A lda S U ldu VT ldvt work lwork iwork info
  dgesdd: 'ciipippipipipi',
  // jobu jobvt m n A lda S U ldu VT ldvt work lwork info
  dgesvd: 'cciipippipipii',
  // jobz uplo n A lda W work lwork iwork liwork info
  dsyevd: 'ccipippipii',
  // m n A lda tau work lwork info
  dgeqrf: 'iipippii',
  // m n k A lda tau work lwork info
  dorgqr: 'iiipippii',
} as const

export type Routine = keyof typeof ROUTINES
export type Argument = string | number | Float32Array | Float64Array | IntegerArray
type IntegerArray = Int32Array | BigInt64Array

/** The routines of one library. A number is passed as an INTEGER, a one-letter string as a CHARACTER, arrays uncopied. */
export interface Lapack {
  readonly integers: Integers
  /** Calls a subroutine. Throws LoraSvdError 'system' where an integer is too large for the library. */
  call(routine: Routine, ...args: Argument[]): void
  /** Calls a subroutine whose last argument is INFO, which is left out of `args`, and returns INFO. */
  info(routine: Routine, ...args: Argument[]): number
  /** An uninitialised array of `length` INTEGERs for the library to work in. */
  integerArray(length: number): IntegerArray
}

/**
 * How a library spells the name of a Fortran routine: Apple's new LAPACK beside its old one, gfortran's and
 * flang's underscore, none (Intel on Windows), then ILP64 builds that set their names apart, and SciPy's.
 */
const SPELLINGS: readonly ((name: string) => string)[] = [
  (name) => `${name}$NEWLAPACK`,
  (name) => `${name}_`,
  (name) => name,
  (name) => `${name}_64_`,
  (name) => `${name}_64`,
  (name) => `scipy_${name}_`,
  (name) => `scipy_${name}_64_`,
]

/**
 * Binds the routines that `handle` exports. Null when it lacks one of them in every spelling: it isn't a LAPACK.
 */
export function bindLapack(handle: LibraryHandle): { lapack: Lapack; version: string } | null {
  const names = ['ilaver', ...Object.keys(ROUTINES)]
  const spelling = SPELLINGS.find((spell) => names.every((name) => exportsSymbol(handle, spell(name))))
  if (spelling === undefined) return null
  const { integers, version } = probe(handle, spelling('ilaver'))
  const functions = Object.fromEntries(
    Object.entries(ROUTINES).map(([name, kinds]) => [name, bind(handle, spelling(name), kinds)]),
  ) as Record<Routine, (...args: unknown[]) => void>
  return { lapack: caller(functions, integers), version }
}

function exportsSymbol(handle: LibraryHandle, name: string): boolean {
  try {
    handle.symbol(name)
    return true
  } catch {
    return false
  }
}

function bind(handle: LibraryHandle, symbol: string, kinds: string): (...args: unknown[]) => void {
  const lengths = [...kinds].filter((kind) => kind === 'c').map(() => 1)
  const types = [...Array(kinds.length).fill('void *'), ...lengths.map(() => 'size_t')]
  const native = handle.func(symbol, 'void', types)
  return (...args) => native(...args, ...lengths)
}

/**
 * ILAVER stores LAPACK's version in three INTEGERs. Each gets eight bytes of ones: a library with 32-bit integers leaves
 * the upper four as they are, one with 64-bit integers clears them. Only writes, always inside the buffers.
 */
function probe(handle: LibraryHandle, symbol: string): { integers: Integers; version: string } {
  const words = [0, 1, 2].map(() => new Int32Array(2).fill(-1))
  handle.func(symbol, 'void', ['void *', 'void *', 'void *'])(...words)
  const integers = words.some((pair) => pair[1] !== -1) ? 'ilp64' : 'lp64'
  const values = integers === 'lp64' ? words.map((pair) => pair[0]) : words.map(toBigInt)
  return { integers, version: values.join('.') }
}

const toBigInt = (words: Int32Array): bigint => new BigInt64Array(words.buffer)[0]

/** More INTEGER arguments than any routine has. */
const SLOTS = 8
const LARGEST_INT32 = 2 ** 31 - 1

function caller(functions: Record<Routine, (...args: unknown[]) => void>, integers: Integers): Lapack {
  const integerArray = (length: number): IntegerArray =>
    integers === 'lp64' ? new Int32Array(length) : new BigInt64Array(length)
  // Calls are synchronous, so that all of them can share the places that their integers are passed in.
  const slots = Array.from({ length: SLOTS }, () => integerArray(1))
  const characters = Object.fromEntries([...'NTSUVL'].map((c) => [c, Uint8Array.of(c.charCodeAt(0))]))

  function call(routine: Routine, ...args: Argument[]): void {
    let used = 0
    functions[routine](
      ...args.map((arg) => {
        if (typeof arg === 'string') return characters[arg]
        if (typeof arg !== 'number') return arg
        const slot = slots[used++]
        if (integers === 'lp64' && arg > LARGEST_INT32) throw tooLarge(routine, arg)
        slot[0] = integers === 'lp64' ? arg : BigInt(arg)
        return slot
      }),
    )
  }

  return {
    integers,
    call,
    info(routine, ...args) {
      const info = integerArray(1)
      call(routine, ...args, info)
      return Number(info[0])
    },
    integerArray,
  }
}

function tooLarge(routine: string, value: number): LoraSvdError {
  return new LoraSvdError(
    'system',
    `${routine} would need to count to ${value}, and this LAPACK library counts in 32 bits; use --engine wasm, or name a 64-bit-integer library in LORA_SVD_LAPACK`,
  )
}
