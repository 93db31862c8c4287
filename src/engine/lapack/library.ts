import { spawnSync } from 'node:child_process'
import { basename, posix, win32 } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'
import type { LibraryHandle } from 'koffi'
import { errnoOf } from '../../errors.ts'

/** The environment variable that names the library to use, instead of those that are looked for. */
export const LIBRARY_VARIABLE = 'LORA_SVD_LAPACK'

/** What decides where libraries are looked for: of `process`, so that every system's list can be tested on one. */
export interface System {
  readonly platform: NodeJS.Platform
  readonly arch: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Where Debian and its derivatives keep the libraries of one processor type. */
const MULTIARCH: Readonly<Record<string, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
  arm: 'arm-linux-gnueabihf',
  ia32: 'i386-linux-gnu',
  ppc64: 'powerpc64le-linux-gnu',
  riscv64: 'riscv64-linux-gnu',
  loong64: 'loongarch64-linux-gnu',
}

const ONEAPI_LINUX = '/opt/intel/oneapi/mkl/latest/lib'

/**
 * Names and paths of shared libraries that may hold BLAS and LAPACK, best first: tuned ones, then the system's
 * choice, which may be the slow reference code. Only the library LORA_SVD_LAPACK names, when it is set. Bare names
 * are left to the loader's own search where that never looks in the working directory (Linux); elsewhere every
 * candidate is an absolute path, so that no library lying among someone's downloads is loaded.
 */
export function candidateLibraries(system: System): readonly string[] {
  const named = system.env[LIBRARY_VARIABLE]
  if (named) return [named]
  if (system.platform === 'darwin') return onMac(system)
  if (system.platform === 'win32') return onWindows(system)
  return onLinux(system)
}

function onLinux({ arch, env }: System): string[] {
  const tuned = [
    'libopenblas.so.0',
    // Fedora and SUSE: with threads or OpenMP, and with 64-bit integers
    'libopenblasp.so.0',
    'libopenblaso.so.0',
    'libopenblas64_.so.0',
    'libopenblas64.so.0',
    'libopenblas.so',
    'libmkl_rt.so.2',
    'libmkl_rt.so',
  ]
  const multiarch = MULTIARCH[arch]
  const openblasFlavours = multiarch === undefined ? [] : ['pthread', 'openmp', 'serial']
  return [
    ...under(env.CONDA_PREFIX, 'lib', ['libopenblas.so.0', 'libmkl_rt.so.2']),
    ...tuned,
    ...openblasFlavours.map((flavour) => `/usr/lib/${multiarch}/openblas-${flavour}/libopenblas.so.0`),
    `${env.MKLROOT ? posix.join(env.MKLROOT, 'lib') : ONEAPI_LINUX}/libmkl_rt.so.2`,
    'libflexiblas.so.3',
    'liblapack.so.3',
    'liblapack64.so.3',
  ]
}

function onMac({ arch, env }: System): string[] {
  const homebrew = arch === 'arm64' ? '/opt/homebrew' : '/usr/local'
  return [
    '/System/Library/Frameworks/Accelerate.framework/Accelerate',
    ...under(env.CONDA_PREFIX, 'lib', ['libopenblas.dylib']),
    `${homebrew}/opt/openblas/lib/libopenblas.dylib`,
    '/opt/local/lib/libopenblas.dylib',
    `${homebrew}/opt/lapack/lib/liblapack.dylib`,
  ]
}

function onWindows({ env }: System): string[] {
  const names = ['libopenblas.dll', 'openblas.dll', 'libopenblas64_.dll', 'mkl_rt.2.dll', 'mkl_rt.dll']
  const searched = (env.PATH ?? '').split(';').filter((folder) => win32.isAbsolute(folder))
  const prefix = env.CONDA_PREFIX
  const folders = [
    ...(prefix ? [win32.join(prefix, 'Library', 'bin')] : []),
    ...(env.MKLROOT ? [win32.join(env.MKLROOT, 'bin')] : []),
    ...searched,
  ]
  return names.flatMap((name) => folders.map((folder) => win32.join(folder, name)))
}

function under(prefix: string | undefined, folder: string, names: readonly string[]): string[] {
  return prefix ? names.map((name) => posix.join(prefix, folder, name)) : []
}

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

/** The bundle that the build makes of lapack-engine.ts: only that can be loaded by another process as it is. */
const BUNDLE = 'lapack-engine.cjs'

/** Longest that a library may take to load and to solve the small problems of the self-check, in milliseconds. */
const PROBE_LIMIT = 30_000

/** What the process that tries a library ends with; one that the library ends itself has another code, 0 as likely as not. */
const SURVIVED = 42

/** Libraries that another process has tried without harm. */
const harmless = new Set<string>()

/**
 * Whether the library at `path` ends the process that tries it, as a file of another machine or a broken build may: it is loaded and
 * called in a process of its own first. Says how that ended, or undefined where it lived, whatever it computed. `module` is the URL of
 * the program that tries libraries; where that is no bundle of this package's, nothing is tried.
 */
export function crashOf(path: string, module: string): string | undefined {
  // jobs go to worker threads only after the main one has opened the library
  if (!isMainThread || harmless.has(path) || !module.startsWith('file:')) return undefined
  const file = fileURLToPath(module)
  if (basename(file) !== BUNDLE) return undefined
  const program = `const { createLapackEngine } = require(${JSON.stringify(file)})
createLapackEngine({ threads: 1, library: ${JSON.stringify(path)}, isProbe: true })
process.exitCode = ${SURVIVED}`
  const child = spawnSync(process.execPath, ['--input-type=commonjs', '--eval', program], {
    timeout: PROBE_LIMIT,
    killSignal: 'SIGKILL',
    stdio: 'ignore',
  })
  if (errnoOf(child.error) === 'ETIMEDOUT') return `did not answer for ${PROBE_LIMIT / 1000} s`
  // where no process can be started, the library is tried as it is
  if (child.error !== undefined) return undefined
  if (child.signal !== null) return `crashes (${child.signal})`
  if (child.status !== SURVIVED) return `ends the process, with exit code ${child.status}`
  harmless.add(path)
  return undefined
}
