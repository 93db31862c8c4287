import { constants, inflateRawSync } from 'node:zlib'
import { badInput, type ErrorPlace } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { quoted } from '../text/quote.ts'

/** The marks and sizes of a zip archive. Source: PKWARE APPNOTE 6.3. */
export const LOCAL_HEADER = 0x04034b50
export const CENTRAL_HEADER = 0x02014b50
export const END = 0x06054b50
const END_64 = 0x06064b50
const END_64_LOCATOR = 0x07064b50

export const LOCAL_BYTES = 30
export const CENTRAL_BYTES = 46
export const END_BYTES = 22
const END_64_BYTES = 56
const LOCATOR_BYTES = 20
/** A comment of up to 65,535 bytes may follow the end record. */
const LONGEST_COMMENT = 0xffff
/** These fill a field whose value stands in the zip64 record instead. */
export const IN_ZIP64 = 0xffffffff
export const COUNT_IN_ZIP64 = 0xffff
const ZIP64_EXTRA = 1

export const STORED = 0
const DEFLATED = 8
const ENCRYPTED = 1
export const UTF8_NAME = 0x0800

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  return crc
})

/** The CRC-32 of zip and PNG (ISO 3309), or that of what has the CRC `before` and then these bytes; node:zlib has one only from 22.2 on. */
export function crc32(bytes: Uint8Array, before = 0): number {
  let crc = ~before
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8)
  return ~crc >>> 0
}

/** What the directory of a zip archive says of a member. Plain data, so that a worker can be sent it. */
export interface ZipEntry {
  readonly name: string
  /** Unpacked. */
  readonly byteLength: number
  readonly packed: number
  readonly method: number
  readonly isEncrypted: boolean
  readonly crc: number
  /** Of its local header. */
  readonly offset: number
  /** Where the next member, or the directory, begins: its data end before that. */
  readonly limit: number
}

/** Some 150,000 members with the names of weights. A directory is read into memory whole. */
const DIRECTORY_BYTE_LIMIT = 16 * 2 ** 20

/**
 * The members that the central directory of a zip archive lists, in its order; nothing else is read. Throws `bad-input` where
 * the archive is damaged, split, holds a name twice, or members that overlap. Source: PKWARE APPNOTE 6.3.
 */
export async function readZipDirectory(source: ByteSource): Promise<ZipEntry[]> {
  const place = { file: source.name }
  const { count, start, end } = await findDirectory(source, place)
  if (end - start > DIRECTORY_BYTE_LIMIT) {
    throw zipError(place, `has a directory of ${end - start} bytes; at most ${DIRECTORY_BYTE_LIMIT} are read`)
  }
  const bytes = start <= end ? await source.read(start, end) : new Uint8Array(0)
  const view = viewOf(bytes)
  const entries = new Map<string, Omit<ZipEntry, 'limit'>>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_BYTES > bytes.length || view.getUint32(at, true) !== CENTRAL_HEADER) {
      throw zipError(
        place,
        `lists ${count} members, but entry ${i + 1} is not at byte ${start + at}: it is damaged`,
      )
    }
    const nameLength = view.getUint16(at + 28, true)
    const next =
      at + CENTRAL_BYTES + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
    if (next > bytes.length)
      throw zipError(place, `is cut off inside the directory entry at byte ${start + at}`)
    const name = new TextDecoder().decode(bytes.subarray(at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameLength))
    if (entries.has(name)) throw zipError(place, `holds ${quoted(name)} twice; which one is meant?`)
    entries.set(name, {
      name,
      method: view.getUint16(at + 10, true),
      isEncrypted: (view.getUint16(at + 8, true) & ENCRYPTED) !== 0,
      crc: view.getUint32(at + 16, true),
      ...sizes(view, at),
    })
    at = next
  }
  return withLimits([...entries.values()], start, place)
}

/** Where each member's data must end. Throws `bad-input` on members that share bytes, by which a small file unpacks to any size. */
function withLimits(
  entries: readonly Omit<ZipEntry, 'limit'>[],
  directory: number,
  place: ErrorPlace,
): ZipEntry[] {
  const inOrder = [...entries].sort((a, b) => a.offset - b.offset)
  const limits = new Map<string, number>()
  inOrder.forEach((entry, i) => {
    const limit = inOrder[i + 1]?.offset ?? directory
    if (entry.offset + LOCAL_BYTES + entry.packed > limit) {
      const other = inOrder[i + 1] === undefined ? 'the directory' : quoted(inOrder[i + 1].name)
      throw zipError(
        place,
        `has the member ${quoted(entry.name)}, which overlaps ${other}: it is damaged or made to exhaust memory; write it anew with numpy.savez`,
      )
    }
    limits.set(entry.name, limit)
  })
  return entries.map((entry) => ({ ...entry, limit: limits.get(entry.name)! }))
}

interface Directory {
  readonly count: number
  readonly start: number
  readonly end: number
}

async function findDirectory(source: ByteSource, place: ErrorPlace): Promise<Directory> {
  const tailStart = Math.max(0, source.byteLength - END_BYTES - LONGEST_COMMENT)
  const view = viewOf(await source.read(tailStart, source.byteLength))
  for (let at = view.byteLength - END_BYTES; at >= 0; at--) {
    if (view.getUint32(at, true) !== END) continue
    const count = view.getUint16(at + 10, true)
    const start = view.getUint32(at + 16, true)
    const end = tailStart + at
    return count === COUNT_IN_ZIP64 || start === IN_ZIP64
      ? findDirectory64(source, end - LOCATOR_BYTES, place)
      : { count, start, end }
  }
  throw zipError(place, 'has no end record: it is cut off; copy it anew')
}

async function findDirectory64(source: ByteSource, locator: number, place: ErrorPlace): Promise<Directory> {
  const at = (view: DataView, offset: number) => Number(view.getBigUint64(offset, true))
  if (locator >= 0) {
    const found = viewOf(await source.read(locator, locator + LOCATOR_BYTES))
    const end = at(found, 8)
    if (found.getUint32(0, true) === END_64_LOCATOR && end + END_64_BYTES <= locator) {
      const record = viewOf(await source.read(end, end + END_64_BYTES))
      if (record.getUint32(0, true) === END_64) return { count: at(record, 32), start: at(record, 48), end }
    }
  }
  throw zipError(place, 'has no zip64 end record where one is announced: it is damaged')
}

/** The sizes and the offset of a directory entry, from its zip64 extra field where they don't fit. */
function sizes(view: DataView, at: number) {
  const fields = {
    byteLength: view.getUint32(at + 24, true),
    packed: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
  }
  const extraStart = at + CENTRAL_BYTES + view.getUint16(at + 28, true)
  const extraEnd = extraStart + view.getUint16(at + 30, true)
  for (let extra = extraStart; extra + 4 <= extraEnd; extra += 4 + view.getUint16(extra + 2, true)) {
    if (view.getUint16(extra, true) !== ZIP64_EXTRA) continue
    let next = extra + 4
    for (const field of ['byteLength', 'packed', 'offset'] as const) {
      if (fields[field] !== IN_ZIP64 || next + 8 > extraEnd) continue
      fields[field] = Number(view.getBigUint64(next, true))
      next += 8
    }
  }
  return fields
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

const zipError = (place: ErrorPlace, problem: string) =>
  badInput(`${place.file ?? 'input'}: the zip archive ${problem}`, place)

/** Deflate codes at most 258 bytes in 2 bits, so it never shrinks by more: a member that claims more is damaged. */
const DEFLATE_BEST_RATIO = 1032

/** A member of up to this size may unpack from as little as deflate can … */
const ANY_RATIO_UP_TO = 64 * 2 ** 20
/** … and a larger one from a hundredth: weights shrink to a half or a tenth, even sparse ones hardly to less than this. */
const LARGEST_RATIO = 100

/**
 * Packed bytes unpacked at first for the start of a member, and how much more each time it isn't enough: up to twice what is asked for or
 * a little more, as what is beyond may unpack to a thousand times as much.
 */
const FIRST_PACKED = 512
const MORE = 2

/** All bytes of a member, of which length and CRC-32 are checked. Throws `bad-input`. */
export async function readMember(source: ByteSource, entry: ZipEntry): Promise<Uint8Array> {
  const { byteLength, packed, crc } = entry
  const fail = failure(source, entry)
  if (byteLength > packed * DEFLATE_BEST_RATIO) {
    throw fail(`${packed} deflated bytes can't hold the ${byteLength} announced`)
  }
  if (byteLength > ANY_RATIO_UP_TO && byteLength > packed * LARGEST_RATIO) {
    throw zipError(
      { file: source.name },
      `has the member ${quoted(entry.name)}, which unpacks to ${byteLength} bytes from ${packed}; past ${ANY_RATIO_UP_TO} bytes at most ${LARGEST_RATIO} times as many are unpacked: write it with numpy.savez`,
    )
  }
  const start = await dataStart(source, entry)
  const raw = await source.read(start, start + packed)
  const content = entry.method === STORED ? raw : inflated(raw, byteLength, fail)
  if (content.length !== byteLength) throw fail(`${content.length} bytes, expected ${byteLength}`)
  if (crc32(content) !== crc) throw fail('its CRC-32 does not match; copy the file anew')
  return content
}

/** The first bytes of a member, up to `count` where it has as many: little more than that is read and unpacked. Throws `bad-input`. */
export async function readMemberStart(
  source: ByteSource,
  entry: ZipEntry,
  count: number,
): Promise<Uint8Array> {
  const { packed, method } = entry
  const start = await dataStart(source, entry)
  if (method === STORED) return source.read(start, start + Math.min(count, packed))
  for (let taken = FIRST_PACKED; ; taken *= MORE) {
    const end = Math.min(taken, packed)
    const content = startOf(await source.read(start, start + end), failure(source, entry))
    if (content.length >= count || end === packed || taken >= MORE * count) return content.subarray(0, count)
  }
}

async function dataStart(source: ByteSource, entry: ZipEntry): Promise<number> {
  const { offset, packed, limit, method } = entry
  const fail = failure(source, entry)
  if (entry.isEncrypted) {
    throw zipError({ file: source.name }, `has an encrypted member ${quoted(entry.name)}; unpack it first`)
  }
  if (method !== STORED && method !== DEFLATED) {
    throw fail(`compression method ${method}; stored (0) and deflated (8) are read, as numpy.savez writes`)
  }
  const header = await source.read(offset, offset + LOCAL_BYTES)
  const view = new DataView(header.buffer, header.byteOffset, header.length)
  if (view.getUint32(0, true) !== LOCAL_HEADER) throw fail(`its header is not at byte ${offset}`)
  const start = offset + LOCAL_BYTES + view.getUint16(26, true) + view.getUint16(28, true)
  if (start + packed > limit) throw fail(`it ends at byte ${start + packed}, what follows begins at ${limit}`)
  return start
}

function inflated(raw: Uint8Array, byteLength: number, fail: (problem: string) => Error): Uint8Array {
  try {
    return inflateRawSync(raw, { maxOutputLength: Math.max(1, byteLength) })
  } catch (error) {
    throw fail(`it can't be unpacked: ${(error as Error).message}`)
  }
}

/** What deflated bytes that are cut off hold. */
function startOf(raw: Uint8Array, fail: (problem: string) => Error): Uint8Array {
  try {
    return inflateRawSync(raw, { finishFlush: constants.Z_SYNC_FLUSH })
  } catch (error) {
    throw fail(`it can't be unpacked: ${(error as Error).message}`)
  }
}

const failure = (source: ByteSource, entry: ZipEntry) => (problem: string) =>
  zipError({ file: source.name }, `has a damaged member ${quoted(entry.name)}: ${problem}`)
