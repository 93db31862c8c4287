// From V8's CPU profiles to phases: a sample belongs to the innermost function on its stack that the table of phases names.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { PHASES } from './table.mjs'

export const [IDLE, START, OTHER, HELPING] = ['idle', 'start', 'other', 'helping']
export const [NATIVE, COLLECTION] = ['without a stack', 'garbage collection']
/** What V8 calls samples in which no function of a program was running. */
const NO_FUNCTION = { '(idle)': IDLE, '(program)': NATIVE, '(garbage collector)': COLLECTION }
/** A thread of the embedded engine: it waits there, and kernels that it calls help another thread. */
export const HELPER = 'helpWith'
const PACKING = /^assembly\/pack\/|\/packRight$/

/**
 * The samples of a thread in order, each { at, time, phase, inner }: `at` the microseconds of the monotonic clock at which it ended, `time` how
 * many it lasted, `inner` the function that ran. `isWait` where the thread waited for files; `mayWait`, a phase, where it did so if no other thread
 * was busy; `isPacking` where a kernel packed a matrix.
 */
export function samplesOf(profile, phases = PHASES) {
  const nodes = phasesOfNodes(profile, phases)
  let at = profile.startTime
  const samples = profile.samples.map((id, i) => {
    const time = profile.timeDeltas[i]
    at += time
    return { at, time, ...nodes.get(id) }
  })
  return withWaits(withLibraries(withStart(samples)), phases)
}

const NEUTRAL = new Set([IDLE, OTHER, NATIVE, COLLECTION])

/** What runs before any phase is known is the start of the thread. */
function withStart(samples) {
  const first = samples.findIndex(({ phase }) => !NEUTRAL.has(phase))
  return samples.map((sample, i) =>
    i < first && sample.phase !== IDLE ? { ...sample, phase: START } : sample,
  )
}

/** A library's call may hide the stack from V8: what has none in the middle of a phase is that phase's. Between two phases it may be either's. */
function withLibraries(samples) {
  const marked = samples.slice()
  for (let i = 0; i < samples.length; i++) {
    if (samples[i].phase !== NATIVE) continue
    const start = i
    while (samples[i + 1]?.phase === NATIVE) i++
    const phase = samples[start - 1]?.phase
    if (phase === undefined || NEUTRAL.has(phase) || samples[i + 1]?.phase !== phase) continue
    for (let j = start; j <= i; j++) marked[j] = { ...samples[j], phase }
  }
  return marked
}

/** A thread that is idle in the middle of a phase that reads or writes waits for the threads of Node that do so. */
function withWaits(samples, phases) {
  const waits = new Map(phases.map(({ name, waits }) => [name, waits]))
  const marked = samples.slice()
  let before
  for (let i = 0; i < samples.length; i++) {
    if (!NEUTRAL.has(samples[i].phase)) before = samples[i].phase
    if (samples[i].phase !== IDLE) continue
    let end = i
    while (end < samples.length && NEUTRAL.has(samples[end].phase)) end++
    const how = samples[end]?.phase === before ? waits.get(before) : undefined
    for (let j = i; j < end; j++) {
      if (how === undefined || samples[j].phase !== IDLE) continue
      marked[j] = {
        ...samples[j],
        ...(how === 'alone' ? { mayWait: before } : { phase: before, isWait: true }),
      }
    }
    i = end - 1
  }
  return marked
}

function phasesOfNodes({ nodes }, phases) {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const found = new Map()
  const sourceOf = sources()
  const visit = (node, outer) => {
    const { functionName, url, lineNumber } = node.callFrame
    const phase = phaseOfFrame(node.callFrame, outer, sourceOf, phases)
    const inner = `${functionName || 'a function'} (${sourceOf(url, lineNumber) ?? url})`
    found.set(node.id, { phase, inner, ...(PACKING.test(functionName) && { isPacking: true }) })
    for (const child of node.children ?? []) visit(byId.get(child), phase)
  }
  visit(nodes[0], OTHER)
  return found
}

const sourceNow = sources()

/** The phase of a stack of calls, the innermost first. */
export const phaseOfStack = (frames, phases = PHASES) =>
  frames.reduceRight((outer, frame) => phaseOfFrame(frame, outer, sourceNow, phases), OTHER)

/** The phase of what a function does itself, which has been called in the phase `outer`. */
function phaseOfFrame({ functionName, url, lineNumber }, outer, sourceOf, phases) {
  if (Object.hasOwn(NO_FUNCTION, functionName)) return NO_FUNCTION[functionName]
  if (functionName === HELPER) return IDLE
  if (outer === IDLE || outer === HELPING) return url.startsWith('wasm:') ? HELPING : outer
  const file = sourceOf(url, lineNumber)
  if (file === undefined && isLoading(functionName, url, lineNumber)) return START
  const own = file === undefined ? undefined : phaseOfFunction(file, functionName, phases)
  if (own === undefined) return outer
  if (own.parts !== undefined) return own.name
  const owner = phases.find(
    ({ name, parts }) => parts !== undefined && (outer === name || outer.startsWith(`${name}: `)),
  )
  return owner?.parts.includes(own.name) ? `${owner.name}: ${own.name}` : own.name
}

/** Node reads a program and runs the outermost lines of its bundles. */
const isLoading = (name, url, line) =>
  (name === '' && line === 0 && url.startsWith('file:')) ||
  /^node:internal\/(modules|bootstrap|main)\//.test(url)

/** The entry of the table for a function of a file. Bundlers number functions of one name. */
export function phaseOfFunction(file, name, phases = PHASES) {
  const names = [name, name.replace(/\d+$/, '')]
  const inFile = phases.filter(({ functions }) => Object.hasOwn(functions, file))
  // a name goes before a whole file
  return (
    inFile.find(({ functions }) => names.some((one) => functions[file].includes(one))) ??
    inFile.find(({ functions }) => functions[file] === '*')
  )
}

/** Tells which source a line of a bundle came from, by the comments that the bundler leaves. */
function sources() {
  const bundles = new Map()
  return (url, line) => {
    if (!url.startsWith('file:')) return undefined
    if (!bundles.has(url)) bundles.set(url, markersOf(url))
    return bundles.get(url).findLast((marker) => marker.line <= line)?.file
  }
}

function markersOf(url) {
  const lines = readFileSync(fileURLToPath(url), 'utf8').split('\n')
  return lines.flatMap((text, line) => {
    const file = /^\s*\/\/ ((?:src|bench|node_modules)\/\S+)$/.exec(text)?.[1]
    return file === undefined ? [] : [{ line, file }]
  })
}
