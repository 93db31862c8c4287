import type { LibraryHandle } from 'koffi'

/** What the maker of a library lets one ask and set. */
export interface Vendor {
  /** The maker's own description of the build, or 'LAPACK x.y.z' where there is none. */
  readonly version: string
  /** How many threads the library uses from now on, as far as it can be told. */
  readonly threads: number
}

/** The environment variable Apple's Accelerate takes its number of threads from, when it is first used. */
export const ACCELERATE_THREADS = 'VECLIB_MAXIMUM_THREADS'

/** MKL's buffer for its version is documented as 198 characters; longer ones are cut. */
const MKL_VERSION_LENGTH = 198

/** OpenBLAS's names as they are, of ILP64 builds that set their names apart, and of SciPy's builds. */
const OPENBLAS_SPELLINGS: readonly ((name: string) => string)[] = [
  (name) => name,
  (name) => `${name}64_`,
  (name) => `scipy_${name}`,
  (name) => `scipy_${name}64_`,
]

/** Sets the number of threads where the library has a function for it, and reads its description of itself. */
export function setUpVendor(handle: LibraryHandle, threads: number, lapackVersion: string): Vendor {
  return openblas(handle, threads) ?? mkl(handle, threads) ?? other(lapackVersion, threads)
}

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

/** Reference LAPACK has one thread; Accelerate doesn't tell. */
function other(lapackVersion: string, threads: number): Vendor {
  const accelerate = process.platform === 'darwin'
  return { version: `LAPACK ${lapackVersion}`, threads: accelerate ? threads : 1 }
}

type Native = (...args: unknown[]) => unknown

function find(handle: LibraryHandle, symbol: string, result: string, parameters: string[]): Native | null {
  try {
    return handle.func(symbol, result, parameters)
  } catch {
    return null
  }
}
