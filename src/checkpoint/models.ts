import { badInput, type LoraSvdError } from '../errors.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { isHead } from './correspondence.ts'
import type { NameFilter } from './filter.ts'
import { formOf, isSameForm, partOf, viewOf } from './matrices.ts'
import { bringNear } from './near.ts'
import { isVocabulary, type Pairing, pairMatrices, pairsByTensor, type Unmatched } from './pair.ts'
import { arrayOf, bytesPerEntry, isStoredInBytes, numbersOf, readBytes, withBytes } from './read.ts'
import type { Checkpoint, StoredTensor } from './types.ts'

type Named = Pick<Checkpoint, 'path' | 'tensors' | 'config'>

/** Two models set beside each other, and how much of them found its counterpart. */
export interface ModelPairing extends Pairing {
  /** How many tensors are in both. */
  readonly matched: number
  /** Those of `unmatched` that leave the comparison incomplete: in one alone, or not comparable by shape or dtype. */
  readonly lost: ReadonlySet<Unmatched>
}

export interface PairingOptions extends NameFilter {
  /** Go on where matrices of equal shapes stay unpaired on both sides. */
  readonly allowUnpaired: boolean
  /** Pair what the filter leaves out too; it is then never lost, nor a reason to refuse. */
  readonly keepsAll?: boolean
}

/**
 * As `pairMatrices`, with what only the data tell: a second name of one tensor is no loss. Throws `bad-input` besides where
 * matrices of equal shapes are left over on both sides, as in one model under two sets of names, unless that is allowed.
 */
export async function pairModels(
  base: Named,
  tuned: Named,
  { allowUnpaired, keepsAll = false, ...filter }: PairingOptions,
): Promise<ModelPairing> {
  const pairing = pairMatrices(base, tuned, filter, keepsAll)
  const aliases = await aliasesIn(pairing, base)
  const unmatched = pairing.unmatched.filter((one) => !aliases.has(one))
  const wanted = unmatched.filter(({ name }) => pairing.isWanted(name))
  if (!allowUnpaired) refuseRenamed(wanted, base, tuned)
  const lost = new Set<Unmatched>()
  for (const one of wanted) if (await isLost(one)) lost.add(one)
  const inBoth = unmatched.filter((one) => one.base !== undefined && one.tuned !== undefined)
  return {
    ...pairing,
    unmatched,
    warnings: [...pairing.warnings, ...aliases.values()],
    matched: pairsByTensor(pairing.pairs).length + inBoth.filter((one) => !lost.has(one)).length,
    lost,
  }
}

async function isLost({ reason, base, tuned }: Unmatched): Promise<boolean> {
  switch (reason) {
    case 'missing-in-base':
    case 'missing-in-tuned':
    case 'shape':
      return true
    case 'dtype':
      return !(await sameNumbers(base!, tuned!))
    default:
      return false
  }
}

/** Embeddings that one checkpoint alone has, and that are there under another name too: with the words that say so. */
async function aliasesIn({ unmatched, tuned }: Pairing, base: Named): Promise<Map<Unmatched, string>> {
  const aliases = new Map<Unmatched, string>()
  const alone = new Set(
    unmatched.filter((one) => one.base === undefined || one.tuned === undefined).map(({ name }) => name),
  )
  for (const one of unmatched) {
    if (!alone.has(one.name) || !isVocabulary(one.name) || isHead(one.name)) continue
    const [{ path, tensors }, tensor] = one.tuned === undefined ? [base, one.base!] : [tuned, one.tuned]
    const others = [...tensors.values()].filter(
      (other) => other.name !== tensor.name && !alone.has(other.name) && isVocabulary(other.name),
    )
    const twin = await firstSame(tensor, others)
    if (twin === undefined) continue
    aliases.set(
      one,
      `${path}: ${quoted(one.name)} is ${quoted(twin.name)} under another name, and is left aside`,
    )
  }
  return aliases
}

async function firstSame(tensor: StoredTensor, others: readonly StoredTensor[]) {
  for (const other of others) if (await sameNumbers(tensor, other)) return other
  return undefined
}

/** Two lists of names of one model: matrices of the same shapes on both sides, and none is the other's. */
function refuseRenamed(unmatched: readonly Unmatched[], base: Named, tuned: Named): void {
  const shapes = new Map<string, StoredTensor[]>()
  for (const { reason, base: tensor } of unmatched) {
    if (reason === 'missing-in-tuned' && isMatrix(tensor!))
      addTo(shapes, formOf(tensor!.shape).join(), tensor!)
  }
  let [count, example]: [number, [StoredTensor, StoredTensor] | undefined] = [0, undefined]
  for (const { reason, tuned: tensor } of unmatched) {
    if (reason !== 'missing-in-base' || !isMatrix(tensor!)) continue
    const other = shapes.get(formOf(tensor!.shape).join())?.pop()
    if (other === undefined) continue
    count++
    example ??= [other, tensor!]
  }
  if (example !== undefined) throw renamedError(base.path, tuned.path, count, example)
}

const isMatrix = ({ name, shape }: StoredTensor) => viewOf(name, shape).kind !== 'none'

function renamedError(
  base: string,
  tuned: string,
  count: number,
  [inBase, inTuned]: readonly [StoredTensor, StoredTensor],
): LoraSvdError {
  return badInput(
    `${tuned}: ${count === 1 ? '1 matrix' : `${count} matrices`} with no counterpart by name in ${base}, which has as many of the same shapes under other names, as ${quoted(inTuned.name)} here and ${quoted(inBase.name)} there, both ${shapeText(inTuned.shape)}: this looks like one model under two sets of names; rename one of them, leave these out with --exclude, or go on without them with --allow-unpaired`,
    { file: tuned, tensor: inTuned.name },
  )
}

/** Elements compared at first, of each tensor: where a fine-tune changed a matrix, it shows in a few. */
const FIRST_ELEMENTS = 2 ** 13
/** Compared at once at most; 4 MiB where an element takes two bytes. */
const MOST_ELEMENTS = 2 ** 21
/** Each comparison takes so many times as many as the one before. */
const GROWTH = 4

/** Reads what `sameNumbers` looks at first, of all tensors that lie elsewhere at once: else each would wait for its own answer. */
export const bringBeginningsNear = (tensors: Iterable<StoredTensor>): Promise<void> =>
  bringNear(
    [...tensors].flatMap((tensor) => {
      const { source, bytes } = tensor
      if (source.kind !== 'range') return []
      const end = Math.min(bytes, FIRST_ELEMENTS * bytesPerEntry(tensor))
      return [{ ...tensor, source: partOf(source, 0, end) }]
    }),
  )

/**
 * Whether two tensors hold the same numbers in the same shape, ones at its end aside. Of one dtype: the same bytes. Of two: the
 * same numbers once widened, where 0 is −0 and every NaN like another, floats or integers; false where one is of a dtype that
 * isn't read. Reads in chunks, up to the first difference.
 */
export async function sameNumbers(a: StoredTensor, b: StoredTensor): Promise<boolean> {
  if (!isSameForm(a.shape, b.shape)) return false
  if (!isStoredInBytes(a) || !isStoredInBytes(b)) {
    const [x, y] = await Promise.all([valuesOf(a), valuesOf(b)])
    return x !== undefined && y !== undefined && sameValues(x, y)
  }
  if (a.dtype === b.dtype) return sameChunks(a, b, (x, y) => Buffer.compare(x, y) === 0)
  return sameChunks(a, b, (x, y) => {
    const [ofA, ofB] = [numbersOf(x, a.dtype), numbersOf(y, b.dtype)]
    return ofA !== undefined && ofB !== undefined && sameValues(ofA, ofB)
  })
}

function sameChunks(
  a: StoredTensor,
  b: StoredTensor,
  isSame: (x: Uint8Array, y: Uint8Array) => boolean,
): Promise<boolean> {
  return withBytes(a.source, a.name, (readA) =>
    withBytes(b.source, b.name, async (readB) => {
      const [sizeA, sizeB] = [bytesPerEntry(a), bytesPerEntry(b)]
      const count = a.bytes / sizeA
      let wanted = FIRST_ELEMENTS
      for (let start = 0; start < count; ) {
        const end = Math.min(count, start + wanted)
        const [x, y] = await Promise.all([
          readA(start * sizeA, end * sizeA),
          readB(start * sizeB, end * sizeB),
        ])
        if (!isSame(x, y)) return false
        start = end
        wanted = Math.min(MOST_ELEMENTS, GROWTH * wanted)
      }
      return true
    }),
  )
}

function sameValues(x: FloatArray, y: FloatArray): boolean {
  for (let i = 0; i < x.length; i++) {
    if (x[i] !== y[i] && !(Number.isNaN(x[i]) && Number.isNaN(y[i]))) return false
  }
  return true
}

/** All numbers of a tensor, or of an array. */
async function valuesOf(tensor: StoredTensor): Promise<FloatArray | undefined> {
  return (await arrayOf(tensor)) ?? numbersOf(await readBytes(tensor), tensor.dtype)
}
