// An engine that counts what it is asked for, by the phase that asks: flops and bytes by kind of call, arithmetic and width. At the end of the
// process they are written into the file that PROFILE_COUNTS names.
import { writeFileSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { phaseOfStack } from './attribute.mjs'

const counts = new Map()
process.on('exit', () => writeFileSync(process.env.PROFILE_COUNTS, JSON.stringify([...counts.values()])))

const DEEPEST_STACK = 100

function add(engine, kind, arithmetic, width, flops, bytes) {
  const phase = phaseOfStack(framesNow())
  const key = [engine, phase, kind, arithmetic, width].join()
  const one = counts.get(key) ?? { engine, phase, kind, arithmetic, width, calls: 0, flops: 0, bytes: 0 }
  counts.set(key, { ...one, calls: one.calls + 1, flops: one.flops + flops, bytes: one.bytes + bytes })
}

/** The calls on the stack as profiles have them, the innermost first. */
function framesNow() {
  const { prepareStackTrace, stackTraceLimit } = Error
  Object.assign(Error, { prepareStackTrace: (_, sites) => sites, stackTraceLimit: DEEPEST_STACK })
  const sites = new Error().stack
  Object.assign(Error, { prepareStackTrace, stackTraceLimit })
  return sites.map((site) => ({
    functionName: site.getFunctionName()?.split('.').at(-1) ?? '',
    url: urlOf(site.getFileName() ?? ''),
    lineNumber: (site.getLineNumber() ?? 1) - 1,
  }))
}

/** The file of a frame as profiles have it: CommonJS is known by its path. */
const urlOf = (file) => (isAbsolute(file) ? pathToFileURL(file).href : file)

const arithmeticOf = (...matrices) =>
  matrices.every(({ data }) => data instanceof Float32Array) ? 'f32' : 'f64'
const bytesOf = (...matrices) => matrices.reduce((sum, { data }) => sum + data.byteLength, 0)

/** Flops of the dense decompositions by the usual algorithms: n³ times these, with vectors and without. */
const EIGEN = { thin: 9, none: 4 / 3 }
const SVD = { thin: 6, full: 6, none: 8 / 3 }

export function counted(engine) {
  const count = (...what) => add(engine.name, ...what)
  const countSvd = (A, times) => {
    const least = Math.min(A.rows, A.columns)
    count('svd', 'f64', least, times * A.rows * A.columns * least, bytesOf(A))
  }
  return {
    ...engine,
    resident: (A) => countedResident(engine.resident(A), A, count),
    multiply(A, B, options) {
      const C = engine.multiply(A, B, options)
      const inner = options?.transposeA ? A.rows : A.columns
      const width = Math.min(C.rows, C.columns, inner)
      count('product', arithmeticOf(A, B), width, 2 * C.rows * C.columns * inner, bytesOf(A, B, C))
      return C
    },
    gram(A, of) {
      const G = engine.gram(A, of)
      count('gram', 'f64', G.rows, A.rows * A.columns * G.rows, bytesOf(A, G))
      return G
    },
    symmetricEigen(A, vectors) {
      count('eigen', 'f64', A.rows, (EIGEN[vectors] ?? EIGEN.thin) * A.rows ** 3, bytesOf(A))
      return engine.symmetricEigen(A, vectors)
    },
    svd(A, vectors) {
      countSvd(A, SVD[vectors] ?? SVD.thin)
      return engine.svd(A, vectors)
    },
    leadingSvd(A, rank) {
      const svd = engine.leadingSvd(A, rank)
      const share = svd.U.columns / Math.max(1, svd.S.length)
      countSvd(A, SVD.none + share * (SVD.thin - SVD.none))
      return svd
    },
  }
}

function countedResident(held, A, count) {
  const entries = A.rows * A.columns
  const bytes = bytesOf(A)
  // read and written
  count('copy', 'f32', 0, 0, 2 * bytes)
  const sweep = (method) => (X) => {
    const Y = held[method](X)
    count(method, arithmeticOf(X), X.columns, 2 * entries * X.columns, bytes + bytesOf(X, Y))
    return Y
  }
  return {
    ...held,
    multiply: sweep('multiply'),
    multiplyTransposed: sweep('multiplyTransposed'),
    multiplyNormal(X) {
      count('multiplyNormal', arithmeticOf(X), X.columns, 4 * entries * X.columns, bytes + 2 * bytesOf(X))
      return held.multiplyNormal(X)
    },
    frobeniusSquared() {
      count('sum', 'f64', 0, 2 * entries, bytes)
      return held.frobeniusSquared()
    },
    residualSquared(B, C) {
      count('residualSquared', 'f64', B.columns, 2 * entries * B.columns, bytes + bytesOf(B, C))
      return held.residualSquared(B, C)
    },
  }
}
