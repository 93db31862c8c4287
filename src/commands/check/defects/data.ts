import { numbersOf, withBytes } from '../../../checkpoint/read.ts'
import type { StoredTensor } from '../../../checkpoint/types.ts'
import { bitsPerElement } from '../../../formats/safetensors-dtype.ts'
import type { RunContext } from '../../../jobs/context.ts'
import type { FloatArray } from '../../../linalg/matrix/matrix.ts'
import { type Adapter, type AdapterModule, tensorsOf } from '../../../lora/model.ts'
import { addTo } from '../../../text/compare.ts'
import type { Found } from '../rules.ts'

/** What all entries of a tensor say. */
interface Entries {
  readonly nonFinite: number
  /** The largest |entry| of those that are numbers. */
  readonly largest: number
}

/** Bytes read at once: memory does not grow with the adapter. */
const WINDOW = 4 * 2 ** 20
/** The largest number of F16. */
const LARGEST_HALF = 65504

/** Defects that only the numbers tell: NaN and infinity, factors of zeros, and what overflows in F16. Reads every tensor once. */
export async function dataDefects(adapter: Adapter, context: RunContext): Promise<Found[]> {
  const { modules, replaced } = adapter
  const tensors = [...modules.flatMap(allTensorsOf), ...replaced.map(({ tensor }) => tensor)]
  const entries = await entriesOf(tensors, context)
  const at = (tensor: StoredTensor) => entries.get(tensor)
  const withEntries = (test: (found: Entries) => boolean) =>
    tensors.filter((tensor) => {
      const found = at(tensor)
      return found !== undefined && test(found)
    })
  const names = (some: readonly StoredTensor[]) => some.map(({ name }) => name)
  const nonFinite = withEntries(({ nonFinite }) => nonFinite > 0)
  const large = withEntries(({ largest }) => largest > LARGEST_HALF)
  const count = nonFinite.reduce((sum, tensor) => sum + at(tensor)!.nonFinite, 0)
  return [
    ...(nonFinite.length === 0
      ? []
      : [
          {
            rule: 'not-finite' as const,
            names: names(nonFinite),
            message: `${count === 1 ? 'An entry is' : `${count} entries are`} NaN or infinite.`,
          },
        ]),
    ...zeros(modules, (tensor) => at(tensor)?.largest === 0 && at(tensor)?.nonFinite === 0),
    ...(large.length === 0 ? [] : [{ rule: 'f16-overflow' as const, names: names(large) }]),
    ...scaledOverflow(modules, (tensor) => at(tensor)?.largest ?? 0),
  ]
}

function allTensorsOf({ product, bias, magnitude }: AdapterModule): StoredTensor[] {
  return [
    ...tensorsOf(product),
    ...(bias === undefined ? [] : [bias]),
    ...(magnitude === undefined ? [] : [magnitude]),
  ]
}

function zeros(modules: readonly AdapterModule[], isZero: (tensor: StoredTensor) => boolean): Found[] {
  const nothing = modules.filter(({ product }) => tensorsOf(product).some(isZero))
  if (nothing.length === 0) return []
  const names = (some: readonly AdapterModule[]) => some.map(({ label }) => label)
  if (nothing.length === modules.length) return [{ rule: 'untrained', names: names(nothing) }]
  const isA = ({ product }: AdapterModule) => product.kind === 'lora' && isZero(product.A)
  const [ofA, ofB] = [nothing.filter(isA), nothing.filter((module) => !isA(module))]
  return [
    ...(ofB.length === 0 ? [] : [{ rule: 'zero-b' as const, names: names(ofB) }]),
    ...(ofA.length === 0 ? [] : [{ rule: 'zero-a' as const, names: names(ofA) }]),
  ]
}

function scaledOverflow(
  modules: readonly AdapterModule[],
  largestOf: (tensor: StoredTensor) => number,
): Found[] {
  const over = modules.filter(({ product, scale }) => {
    if (product.kind !== 'lora') return false
    const largest = largestOf(product.B)
    return largest <= LARGEST_HALF && largest * Math.abs(scale) > LARGEST_HALF
  })
  return over.length === 0 ? [] : [{ rule: 'f16-overflow-scaled', names: over.map(({ label }) => label) }]
}

/** Looks at every entry of tensors in the order in which they lie, file by file; not at those whose dtype is no float. */
async function entriesOf(
  tensors: readonly StoredTensor[],
  { progress, signal }: RunContext,
): Promise<Map<StoredTensor, Entries>> {
  const found = new Map<StoredTensor, Entries>()
  const byFile = new Map<string, StoredTensor[]>()
  for (const tensor of new Set(tensors)) {
    const { source } = tensor
    if (source.kind === 'range') addTo(byFile, source.file, tensor)
    else if (source.kind === 'bytes') found.set(tensor, look(numbersOf(source.bytes, tensor.dtype)))
  }
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0)
  const event = { phase: 'checking', noun: 'tensors', items: tensors.length, total, unit: 'bytes' } as const
  let [done, work] = [0, 0]
  progress({ ...event, kind: 'start', done, work })
  try {
    for (const [file, stored] of byFile) {
      const placed = stored
        .map((tensor) => ({ tensor, ...(tensor.source as { begin: number; end: number }) }))
        .sort((a, b) => a.begin - b.begin)
      const end = placed.reduce((most, one) => Math.max(most, one.end), 0)
      await withBytes({ kind: 'range', file, begin: 0, end }, placed[0].tensor.name, async (read) => {
        const numbers = windowed(read, end)
        for (const { tensor, begin, end: last } of placed) {
          signal?.throwIfAborted()
          let sum: Entries = { nonFinite: 0, largest: 0 }
          const step = WINDOW - (WINDOW % Math.max(1, bitsPerElement(tensor.dtype) / 8))
          for (let from = begin; from < last; from += step) {
            const bytes = await numbers(from, Math.min(last, from + step))
            sum = added(sum, look(numbersOf(bytes, tensor.dtype)))
          }
          found.set(tensor, sum)
          done++
          work += tensor.bytes
          progress({ ...event, kind: 'done', done, work, name: tensor.name })
        }
      })
    }
  } finally {
    progress({ ...event, kind: 'end', done, work })
  }
  return found
}

/** Reads ranges that follow each other from a window, so that many small ones are one read. */
function windowed(read: (begin: number, end: number) => Promise<Uint8Array>, end: number) {
  let start = 0
  let window: Uint8Array = new Uint8Array(0)
  return async (from: number, to: number): Promise<Uint8Array> => {
    if (from < start || to > start + window.length) {
      start = from
      window = await read(from, Math.min(end, from + WINDOW))
    }
    return window.subarray(from - start, to - start)
  }
}

const added = (a: Entries, b: Entries): Entries => ({
  nonFinite: a.nonFinite + b.nonFinite,
  largest: Math.max(a.largest, b.largest),
})

function look(numbers: FloatArray | undefined): Entries {
  let [nonFinite, largest] = [0, 0]
  for (let i = 0; i < (numbers?.length ?? 0); i++) {
    const size = Math.abs(numbers![i])
    if (size - size !== 0) nonFinite++
    else if (size > largest) largest = size
  }
  return { nonFinite, largest }
}
