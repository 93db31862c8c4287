import type { LibraryHandle } from 'koffi'

/** What the maker of a library lets one ask and set. */
export interface Vendor {
  /** The maker's own description of the build, or 'LAPACK x.y.z' where there is none. */
  readonly version: string
  /** How many threads the library uses from now on, as far as it can be told. */
  readonly threads: number
}

/** Where Apple's Accelerate takes its number of threads from, when it is first used: there is no function for it. */
const ACCELERATE_THREADS = 'VECLIB_MAXIMUM_THREADS'

/** MKL's buffer for its version is documented as 198 characters; longer ones are cut. */
const MKL_VERSION_LENGTH = 198

/** OpenBLAS's names as they are, of ILP64 builds that set their names apart, and of SciPy's builds. */
const OPENBLAS_SPELLINGS: readonly ((name: string) => string)[] = [
  (name) => name,
  (name) => `${name}64_`,
  (name) => `scipy_${name}`,
  (name) => `scipy_${name}64_`,
]

/** Sets what the library at `path` reads from the environment, unless someone has. To be called before it is loaded. */
export function setVariables(path: string, threads: number): void {
  if (isAccelerate(path)) process.env[ACCELERATE_THREADS] ??= String(threads)
}

/** Sets the number of threads where the library has a function for it, and reads its description of itself. */
export function setUpVendor(
  handle: LibraryHandle,
  path: string,
  threads: number,
  lapackVersion: string,
): Vendor {
  return (
    openblas(handle, threads) ??
    mkl(handle, threads) ?? {
      version: `LAPACK ${lapackVersion}`,
      // The reference library has one thread.
      threads: isAccelerate(path) ? Number(process.env[ACCELERATE_THREADS]) : 1,
    }
  )
}

const isAccelerate = (path: string): boolean => path.includes('Accelerate.framework')

function openblas(handle: LibraryHandle, threads: number): Vendor | null {
  for (const spell of OPENBLAS_SPELLINGS) {
    const config = find(handle, spell('openblas_get_config'), 'str', [])
    if (config === null) continue
    find(handle, spell('openblas_set_num_threads'), 'void', ['int'])?.(threads)
    const used = find(handle, spell('openblas_get_num_threads'), 'int', [])
    return { version: String(config()).trim(), threads: used === null ? threads : Number(used()) }
  }
  return null
}

function mkl(handle: LibraryHandle, threads: number): Vendor | null {
  const version = find(handle, 'MKL_Get_Version_String', 'void', ['void *', 'int'])
  if (version === null) return null
  find(handle, 'MKL_Set_Num_Threads', 'void', ['int'])?.(threads)
  const used = find(handle, 'MKL_Get_Max_Threads', 'int', [])
  const text = Buffer.alloc(MKL_VERSION_LENGTH)
  version(text, MKL_VERSION_LENGTH)
  return {
    version: text.toString('latin1').split('\0')[0].trim(),
    threads: used === null ? threads : Number(used()),
  }
}

type Native = (...args: unknown[]) => unknown

function find(handle: LibraryHandle, symbol: string, result: string, parameters: string[]): Native | null {
  try {
    return handle.func(symbol, result, parameters)
  } catch {
    return null
  }
}
