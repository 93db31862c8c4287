import { badInput, type LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { counted, quoted, shapeText } from '../text/quote.ts'
import { JsonError, type JsonReader, jsonReader } from '../text/strict-json.ts'
import { bitsPerElement, isSafetensorsDtype, type SafetensorsDtype } from './safetensors-dtype.ts'

/** One tensor: its bytes are [begin, end) of the data, which starts at the header's `dataStart`. */
export interface TensorEntry {
  readonly dtype: SafetensorsDtype
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

/** What a safetensors header says; the tensors come in the order of the header's JSON. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: ReadonlyMap<string, string>
  readonly dataStart: number
}

const LENGTH_BYTES = 8

/** The reference reader's limit: no one needs more, and it bounds what a hostile file can make us parse. */
export const HEADER_BYTE_LIMIT = 100_000_000

const METADATA_KEY = '__metadata__'

/**
 * Reads and checks the header of a safetensors file as strictly as its format says: no duplicate names, no holes,
 * no overlaps, no bytes left over. The checks come in the order of the reference reader (safetensors/src/tensor.rs).
 * Throws `bad-input` that names the file, the tensor, what was found and what was expected. Reads the header alone.
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const file = source.name
  const dataStart = LENGTH_BYTES + (await readHeaderLength(source))
  const text = decodeUtf8(await source.read(LENGTH_BYTES, dataStart), file)
  const { tensors, metadata } = parseHeader(text, file)
  checkLayout(tensors, source.byteLength - dataStart, file)
  return { tensors, metadata, dataStart }
}

async function readHeaderLength(source: ByteSource): Promise<number> {
  const file = source.name
  if (source.byteLength < LENGTH_BYTES) {
    throw headerError(
      file,
      `is ${counted(source.byteLength, 'byte')} long; a safetensors file has at least ${LENGTH_BYTES}`,
    )
  }
  const prefix = await source.read(0, LENGTH_BYTES)
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true)
  if (length > BigInt(HEADER_BYTE_LIMIT)) {
    throw headerError(
      file,
      `announces a header of ${length} bytes; at most ${HEADER_BYTE_LIMIT} are allowed: it is damaged or no safetensors file`,
    )
  }
  const headerLength = Number(length)
  if (LENGTH_BYTES + headerLength > source.byteLength) {
    throw headerError(
      file,
      `announces a header of ${counted(headerLength, 'byte')} but has ${source.byteLength - LENGTH_BYTES} after its first 8: it is cut off; fetch it again`,
    )
  }
  return headerLength
}

function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw badInput(`${file}: the header is not UTF-8 text: it is damaged or no safetensors file`, {
      file,
      cause,
    })
  }
}

function parseHeader(text: string, file: string) {
  const tensors = new Map<string, TensorEntry>()
  const metadata = new Map<string, string>()
  const json = jsonReader(text)
  let sawMetadata = false
  let [bytes, furthest] = [0, 0]
  let current = ''
  try {
    json.object((name) => {
      current = name
      if (name === METADATA_KEY) {
        if (sawMetadata) json.fail('the key comes twice')
        sawMetadata = true
        readMetadata(json, metadata)
      } else {
        if (tensors.has(name)) json.fail('the name comes twice')
        const entry = readEntry(json)
        tensors.set(name, entry)
        bytes += Math.max(0, entry.end - entry.begin)
        furthest = Math.max(furthest, entry.end)
        // more bytes than there is room for: some tensors overlap, whatever comes after them
        if (bytes > furthest) throw overlapError(tensors, file)
      }
    })
    current = ''
    json.end()
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    const where = current === '' ? '' : ` (in ${quoted(current)})`
    throw headerError(file, `has a wrong header: ${error.message}${where}`, current || undefined)
  }
  return { tensors, metadata }
}

/** The first tensor, by place, that begins before others end. */
function overlapError(tensors: ReadonlyMap<string, TensorEntry>, file: string): LoraSvdError {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  let position = 0
  for (const [name, entry] of inOrder) {
    if (entry.begin < position) {
      return headerError(file, `: tensor ${quoted(name)} ${misplacement(entry, position)}`, name)
    }
    position = Math.max(position, entry.end)
  }
  throw new RangeError('no tensors overlap')
}

function readMetadata(json: JsonReader, metadata: Map<string, string>): void {
  // the reference writes none as absent, but reads null as that too
  if (json.peek() === 'n') {
    json.skip()
    return
  }
  json.object((key) => {
    if (metadata.has(key)) json.fail(`the metadata key ${quoted(key)} comes twice`)
    metadata.set(key, json.string())
  })
}

function readEntry(json: JsonReader): TensorEntry {
  let dtype: SafetensorsDtype | undefined
  let shape: number[] | undefined
  let offsets: number[] | undefined
  json.object((field) => {
    if (field === 'dtype') {
      if (dtype !== undefined) json.fail('dtype comes twice')
      dtype = readDtype(json)
    } else if (field === 'shape') {
      if (shape !== undefined) json.fail('shape comes twice')
      shape = readCounts(json)
    } else if (field === 'data_offsets') {
      if (offsets !== undefined) json.fail('data_offsets comes twice')
      offsets = readCounts(json)
    } else {
      json.skip()
    }
  })
  if (dtype === undefined) return json.fail('dtype is missing')
  if (shape === undefined) return json.fail('shape is missing')
  if (offsets === undefined) return json.fail('data_offsets is missing')
  if (offsets.length !== 2)
    return json.fail(`data_offsets has ${counted(offsets.length, 'number')}, expected 2`)
  return { dtype, shape, begin: offsets[0], end: offsets[1] }
}

function readDtype(json: JsonReader): SafetensorsDtype {
  const name = json.string()
  return isSafetensorsDtype(name) ? name : json.fail(`the dtype ${quoted(name)} is unknown`)
}

function readCounts(json: JsonReader): number[] {
  const counts: number[] = []
  json.array(() => counts.push(json.count()))
  return counts
}

/** The tensors must fill the data, one right after the other, each as long as its shape and dtype say. */
function checkLayout(tensors: ReadonlyMap<string, TensorEntry>, dataLength: number, file: string): void {
  const entries = [...tensors.values()]
  // a hostile header lists two million tensors in any order: columns of numbers sort and scan several times as fast
  const begins = Float64Array.from(entries, (entry) => entry.begin)
  const ends = Float64Array.from(entries, (entry) => entry.end)
  const bits = Float64Array.from(entries, tensorBits)
  const order = Uint32Array.from(entries, (_, index) => index)
  const compare = (a: number, b: number) => begins[a] - begins[b] || ends[a] - ends[b] || a - b
  // most writers list tensors as they lie, and looking is cheaper than sorting
  if (order.some((i) => i > 0 && compare(i - 1, i) > 0)) order.sort(compare)
  let position = 0
  for (const i of order) {
    if (begins[i] !== position || (ends[i] - begins[i]) * 8 !== bits[i]) {
      const name = [...tensors.keys()][i]
      throw headerError(file, `: tensor ${quoted(name)} ${misplacement(entries[i], position)}`, name)
    }
    position = ends[i]
  }
  if (position !== dataLength) {
    const problem = position > dataLength ? 'it is cut off; fetch it again' : 'bytes are left over'
    throw headerError(
      file,
      `has ${counted(dataLength, 'byte')} of data, the header speaks of ${position}: ${problem}`,
    )
  }
}

/** Why a tensor does not fit at `position` of the data, in the order of the reference reader's checks. */
function misplacement(entry: TensorEntry, position: number): string {
  const { begin, end, shape, dtype } = entry
  if (begin !== position) {
    const kind = begin > position ? 'a hole' : 'an overlap'
    return `starts at byte ${begin} of the data, expected ${position} (${kind})`
  }
  if (end < begin) return `ends at byte ${end} of the data, before its start at ${begin}`
  const bits = tensorBits(entry)
  if (bits === Number.POSITIVE_INFINITY) {
    return `has the shape ${shapeText(shape)}, more elements than a file can hold`
  }
  return bits % 8 === 0
    ? `has ${counted(end - begin, 'byte')} of data; its shape ${shapeText(shape)} and dtype ${dtype} need ${bits / 8}`
    : `of shape ${shapeText(shape)} and dtype ${dtype} takes ${bits} bits, not whole bytes`
}

/** Bits of the whole tensor, or infinity past 2^53: each partial product is checked, as the reference does. */
function tensorBits({ shape, dtype }: TensorEntry): number {
  let bits = bitsPerElement(dtype)
  for (const n of shape) {
    bits *= n
    if (bits > Number.MAX_SAFE_INTEGER) return Number.POSITIVE_INFINITY
  }
  return bits
}

const headerError = (file: string, problem: string, tensor?: string): LoraSvdError =>
  badInput(`${file}${problem.startsWith(':') ? '' : ': the file '}${problem}`, {
    file,
    ...(tensor === undefined ? {} : { tensor }),
  })
