import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import type { Engine } from '../../linalg/engine.ts'
import { widened, widenedOperands } from '../../linalg/matrix/half.ts'
import { qr, svd, symmetricEigen } from './decompositions.ts'
import { leadingSvd } from './leading.ts'
import {
  candidateLibraries,
  crashOf,
  LIBRARY_VARIABLE,
  type System,
  setUpVendor,
  setVariables,
} from './library.ts'
import { gram, multiply } from './products.ts'
import { resident } from './resident.ts'
import { selfCheck } from './self-check.ts'
import { bindLapack, type Integers, type Koffi, type Lapack } from './symbols.ts'

export interface LapackOptions {
  /** Threads for the library to use; those the machine has by default. */
  readonly threads?: number
  /** The name or path of the only library to try, in place of LORA_SVD_LAPACK and of the usual places. */
  readonly library?: string
  /** A library that this process has loaded and checked: it is tried first, and trusted. */
  readonly checked?: string | undefined
  /** This process is the one that may crash. */
  readonly isProbe?: boolean
  /** Stands in for `process` and for koffi in tests. */
  readonly system?: System
  readonly loadKoffi?: () => Koffi
}

/** The library that an engine works with. */
export interface LapackLibrary {
  /** As it was given to the loader: a path, or a name that the loader found. */
  readonly path: string
  /** The library's description of itself. */
  readonly version: string
  readonly integers: Integers
  readonly threads: number
}

export interface Found {
  readonly engine: Engine
  readonly library: LapackLibrary
}

/** Why there is no engine; `isAbsent` where no library was found or named, so that none is to be expected. */
interface Missing {
  readonly reason: string
  readonly isAbsent: boolean
}

export type LapackResult = Found | Missing

/**
 * An engine over the system's LAPACK: OpenBLAS, MKL, Accelerate or the reference library, whichever is found first,
 * exports all that is needed and gets small known problems right. When there is none, `reason` says why, in one line.
 * Nothing is loaded before this call. Results agree with the other engines to rounding, never in all bits: they
 * depend on the library, the processor and the number of threads, which is one setting of the library for the process.
 */
export function createLapackEngine(options: LapackOptions = {}): LapackResult {
  const { threads = availableParallelism(), library, system = process, loadKoffi = requireKoffi } = options
  let koffi: Koffi
  try {
    koffi = loadKoffi()
  } catch (error) {
    return {
      reason: `the optional package koffi can't be loaded (${firstLine(error)}); run npm install koffi`,
      isAbsent: true,
    }
  }
  if (options.checked !== undefined) {
    const result = tryLibrary(koffi, options.checked, threads, () => null)
    if ('engine' in result) return result
  }
  const named = library ?? system.env[LIBRARY_VARIABLE]
  if (named) {
    const crash = options.isProbe ? undefined : crashOf(named, import.meta.url)
    const result =
      crash === undefined ? tryLibrary(koffi, named, threads) : { reason: `${named} ${crash}: name another` }
    if ('engine' in result) return result
    const whose = library === undefined ? `the library that ${LIBRARY_VARIABLE} names can't be used: ` : ''
    return { reason: whose + result.reason, isAbsent: false }
  }
  return firstUsable(koffi, candidateLibraries(system), threads)
}

function firstUsable(koffi: Koffi, candidates: readonly string[], threads: number): LapackResult {
  const refusals: string[] = []
  for (const path of candidates) {
    const result = tryLibrary(koffi, path, threads)
    if ('engine' in result) return result
    if (result.loaded) refusals.push(result.reason)
  }
  if (refusals.length > 0) {
    return { reason: `no usable LAPACK library: ${refusals.join('; ')}`, isAbsent: false }
  }
  return {
    reason: `no LAPACK library found; install OpenBLAS, or name one in ${LIBRARY_VARIABLE}`,
    isAbsent: true,
  }
}

function requireKoffi(): Koffi {
  return createRequire(import.meta.url)('koffi')
}

interface Refusal {
  readonly loaded: boolean
  readonly reason: string
}

function tryLibrary(koffi: Koffi, path: string, threads: number, checked = check): Found | Refusal {
  let handle: ReturnType<Koffi['load']>
  setVariables(path, threads)
  try {
    // MKL loads parts of itself that look for each other among the global symbols, and ends the process if it can't.
    handle = koffi.load(path, { global: path.includes('mkl') })
  } catch (error) {
    return { loaded: false, reason: `${path}: ${firstLine(error)}` }
  }
  const bound = bindLapack(handle)
  if (bound === null) return { loaded: true, reason: `${path} lacks routines of BLAS or LAPACK` }
  const vendor = setUpVendor(handle, path, threads, bound.version)
  const engine = engineOver(bound.lapack, vendor.threads)
  const failure = checked(engine)
  if (failure !== null) return { loaded: true, reason: `${path} ${failure}` }
  return { engine, library: { path, integers: bound.lapack.integers, ...vendor } }
}

function engineOver(lapack: Lapack, threads: number): Engine {
  return {
    name: 'lapack',
    threads,
    multiply: (A, B, options) => multiply(lapack, ...widenedOperands(A, B), options),
    gram: (A, of) => gram(lapack, widened(A), of),
    qr: (A) => qr(lapack, A),
    symmetricEigen: (G, vectors) => symmetricEigen(lapack, G, vectors),
    svd: (A, vectors) => svd(lapack, A, vectors),
    leadingSvd: (A, count) => leadingSvd(lapack, A, count),
    resident: (A) => resident(lapack, A),
  }
}

function check(engine: Engine): string | null {
  try {
    return selfCheck(engine)
  } catch (error) {
    return `failed on a small known matrix (${firstLine(error)})`
  }
}

const firstLine = (error: unknown): string =>
  String(error instanceof Error ? error.message : error).split('\n')[0]
