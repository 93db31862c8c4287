import { type OpenOptions, openCheckpoint } from '../checkpoint/open.ts'
import { arrayOf, elementCount, numbersOf, readBytes } from '../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { looksLikeImatrixDat, readImatrixDat } from '../formats/imatrix-dat.ts'
import { readableFloatOf } from '../formats/safetensors-dtype.ts'
import { SNIFFED_BYTES } from '../formats/sniff.ts'
import { identityOf, kindOf } from '../io/files.ts'
import { isAddress } from '../io/remote/address.ts'
import { pinned } from '../io/remote/hub.ts'
import { openFile } from '../io/source.ts'
import { quoted, shapeText } from '../text/quote.ts'
import type { MomentEntry, MomentFile } from './types.ts'

/** Ends of the names under which moments are stored; what comes before is the weight. */
const FULL = '.second_moment'
const DIAGONAL = '.second_moment_diagonal'
const COUNT = '.count'
/** llama.cpp's, in a GGUF: sums of squares, and over how many inputs (tools/imatrix/imatrix.cpp, save_imatrix, 2026). */
const SUMS = '.in_sum2'
const COUNTS = '.counts'

/**
 * Opens a file of moments: safetensors or npz with `<weight>.second_moment` [k, k] or `<weight>.second_moment_diagonal` [k] and perhaps
 * `<weight>.count`, an importance matrix of llama.cpp as GGUF, or its older .dat. Reads headers and counts. In safetensors the metadata may
 * name, under a weight, another whose moments it shares. Throws `bad-input` for another file, and for entries of another shape.
 */
export async function openMoments(given: string, opening: OpenOptions): Promise<MomentFile> {
  const path = isAddress(given) ? await pinned(given) : given
  const dat = await openDat(path)
  if (dat !== undefined) return dat
  const checkpoint = await openCheckpoint(path, { ...opening, arrays: 'any' })
  const { tensors, metadata, files } = checkpoint
  const { warnings } = checkpoint
  if (checkpoint.isGguf && metadata.get('general.type') !== 'imatrix') {
    throw badInput(
      `${path}: is a GGUF file of the type ${quoted(metadata.get('general.type') ?? 'model')}, and moments are in one of the type "imatrix", as llama-imatrix writes it`,
      { file: path },
    )
  }
  const entries = checkpoint.isGguf ? await sumsOf(checkpoint) : await meansOf(checkpoint)
  if (entries.size === 0) {
    const [first] = tensors.keys()
    throw badInput(
      `${path}: holds no moments: none of its tensors ends in ${FULL} or ${DIAGONAL}${first === undefined ? '' : `, as ${quoted(first)} shows`}`,
      { file: path },
    )
  }
  return { path, naming: checkpoint.isGguf ? 'llama.cpp' : 'checkpoint', entries, files, warnings }
}

/** The older importance matrix, told by its first bytes; undefined of any other file. */
async function openDat(path: string): Promise<MomentFile | undefined> {
  if (path === '-' || (await kindOf(path)) !== 'file') return undefined
  const source = await openFile(path)
  try {
    if (!looksLikeImatrixDat(await source.read(0, Math.min(SNIFFED_BYTES, source.byteLength))))
      return undefined
    const entries = (await readImatrixDat(source)).map(
      ({ name, calls, values, begin, end }): [string, MomentEntry] => [
        name,
        {
          ...{ name, kind: 'diagonal', isFlat: true },
          tensor: {
            ...{ name, dtype: 'F32', shape: [values], bytes: end - begin },
            source: { kind: 'range', file: path, begin, end },
          },
          divisors: [calls],
        },
      ],
    )
    const files = identityOf(source.name, source.stamp)
    return { path, naming: 'llama.cpp', entries: new Map(entries), files, warnings: [] }
  } finally {
    await source.close()
  }
}

/** Means under the checkpoint's names. */
async function meansOf({ path, tensors, metadata }: Checkpoint): Promise<Map<string, MomentEntry>> {
  const entries = new Map<string, MomentEntry>()
  for (const tensor of tensors.values()) {
    const { name } = tensor
    const end = [FULL, DIAGONAL].find((one) => name.endsWith(one))
    if (end === undefined) continue
    const weight = name.slice(0, -end.length)
    assertFloats(path, tensor)
    if (entries.has(weight)) {
      throw badInput(`${path}: holds ${FULL} and ${DIAGONAL} of ${quoted(weight)}: leave one out`, {
        file: path,
        tensor: name,
      })
    }
    const count = tensors.get(`${weight}${COUNT}`)
    const samples = count === undefined ? undefined : await countsOf(path, count)
    const kind = end === FULL ? 'full' : 'diagonal'
    entries.set(weight, { name, kind, tensor, divisors: [1], ...(samples !== undefined && { samples }) })
  }
  for (const [weight, shared] of metadata) {
    const entry = entries.get(shared)
    if (entry !== undefined && !entries.has(weight)) entries.set(weight, entry)
  }
  return entries
}

/** Sums of squares under llama.cpp's names. */
async function sumsOf({ path, tensors }: Checkpoint): Promise<Map<string, MomentEntry>> {
  const entries = new Map<string, MomentEntry>()
  for (const tensor of tensors.values()) {
    const { name } = tensor
    if (!name.endsWith(SUMS)) continue
    const weight = name.slice(0, -SUMS.length)
    assertFloats(path, tensor)
    const stored = tensors.get(`${weight}${COUNTS}`)
    if (stored === undefined) {
      throw badInput(
        `${path}: has ${quoted(name)} without ${quoted(`${weight}${COUNTS}`)}: it is damaged; make it again`,
        {
          file: path,
          tensor: name,
        },
      )
    }
    const samples = await countsOf(path, stored)
    entries.set(weight, { name, kind: 'diagonal', tensor, divisors: samples, samples })
  }
  return entries
}

function assertFloats(path: string, { name, dtype, shape }: StoredTensor): void {
  if (readableFloatOf(dtype) !== undefined) return
  throw badInput(`${path}: tensor ${quoted(name)} is of ${dtype} ${shapeText(shape)}; moments are floats`, {
    file: path,
    tensor: name,
  })
}

/** More experts than any model stacks. */
const MOST_COUNTS = 100_000

async function countsOf(path: string, tensor: StoredTensor): Promise<readonly number[]> {
  const place = { file: path, tensor: tensor.name }
  const count = elementCount(tensor)
  if (count > MOST_COUNTS || count < 1) {
    throw badInput(
      `${path}: tensor ${quoted(tensor.name)} has the shape ${shapeText(tensor.shape)}; it is a count`,
      place,
    )
  }
  const counts = [...(await readNumbers(tensor))]
  const wrong = counts.find((one) => !(one >= 0 && Number.isFinite(one)))
  if (wrong !== undefined)
    throw badInput(`${path}: tensor ${quoted(tensor.name)} is a count, and is ${wrong}`, place)
  return counts
}

/** A count may be an integer, as PyTorch's are. */
const readNumbers = async (tensor: StoredTensor): Promise<Iterable<number>> =>
  (await arrayOf(tensor)) ?? numbersOf(await readBytes(tensor), tensor.dtype) ?? [Number.NaN]
