import { posix, win32 } from 'node:path'

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
