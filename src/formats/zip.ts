import { inflateRawSync } from 'node:zlib'
import { badInput, type ErrorPlace } from '../errors.ts'
import { quoted } from './quote.ts'

/** One file inside a zip archive. `read` unpacks it and checks its length and CRC-32; it throws `bad-input`. */
export interface ZipMember {
  readonly name: string
  readonly byteLength: number
  read(): Uint8Array
}

const LOCAL_HEADER = 0x04034b50
const CENTRAL_HEADER = 0x02014b50
const END = 0x06054b50
const END_64 = 0x06064b50
const END_64_LOCATOR = 0x07064b50

const END_BYTES = 22
/** A comment of up to 65,535 bytes may follow the end record. */
const LONGEST_COMMENT = 0xffff
/** These fill a field whose value stands in the zip64 record instead. */
const IN_ZIP64 = 0xffffffff
const COUNT_IN_ZIP64 = 0xffff
const ZIP64_EXTRA = 1
const STORED = 0
const DEFLATED = 8
const ENCRYPTED = 1
const UTF8_NAME = 0x0800
/** 1980-01-01, the earliest date a zip holds: the same input gives the same bytes at any time. */
const FIXED_DATE = 0x0021
/** Deflate codes at most 258 bytes in 2 bits, so it never shrinks by more: a member that claims more is a bomb or damaged. */
const DEFLATE_BEST_RATIO = 1032
const VERSION_NEEDED = 20
/** Read and write for the owner, read for others: what `unzip` gives the file on Unix. */
const UNIX_MODE = 0o100644
const MADE_BY_UNIX = 3

/**
 * The members that the central directory of a zip archive lists, in its order; none is unpacked yet.
 * Throws `bad-input` where the archive is damaged, split, or holds a name twice. Source: PKWARE APPNOTE 6.3.
 */
export function readZip(bytes: Uint8Array, place: ErrorPlace): ZipMember[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const { count, start } = findDirectory(view, place)
  const members = new Map<string, ZipMember>()
  let at = start
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL_HEADER) {
      throw zipError(place, `lists ${count} members, but entry ${i + 1} is not at byte ${at}: it is damaged`)
    }
    const nameLength = view.getUint16(at + 28, true)
    const extraLength = view.getUint16(at + 30, true)
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true)
    if (next > bytes.length) throw zipError(place, `is cut off inside the directory entry at byte ${at}`)
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength))
    if (members.has(name)) throw zipError(place, `holds ${quoted(name)} twice; which one is meant?`)
    members.set(name, member(bytes, view, at, name, place))
    at = next
  }
  return [...members.values()]
}

function findDirectory(view: DataView, place: ErrorPlace): { count: number; start: number } {
  const last = view.byteLength - END_BYTES
  for (let at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
    if (view.getUint32(at, true) !== END) continue
    const count = view.getUint16(at + 10, true)
    const start = view.getUint32(at + 16, true)
    return count === COUNT_IN_ZIP64 || start === IN_ZIP64
      ? findDirectory64(view, at - 20, place)
      : { count, start }
  }
  throw zipError(place, 'has no end record: it is cut off; copy it anew')
}

function findDirectory64(
  view: DataView,
  locator: number,
  place: ErrorPlace,
): { count: number; start: number } {
  if (locator >= 0 && view.getUint32(locator, true) === END_64_LOCATOR) {
    const at = Number(view.getBigUint64(locator + 8, true))
    if (at + 56 <= view.byteLength && view.getUint32(at, true) === END_64) {
      return {
        count: Number(view.getBigUint64(at + 32, true)),
        start: Number(view.getBigUint64(at + 48, true)),
      }
    }
  }
  throw zipError(place, 'has no zip64 end record where one is announced: it is damaged')
}

function member(bytes: Uint8Array, view: DataView, at: number, name: string, place: ErrorPlace): ZipMember {
  const flags = view.getUint16(at + 8, true)
  const method = view.getUint16(at + 10, true)
  const crc = view.getUint32(at + 16, true)
  const { packed, byteLength, offset } = sizes(view, at)
  const fail = (problem: string) => zipError(place, `has a damaged member ${quoted(name)}: ${problem}`)
  return {
    name,
    byteLength,
    read: () => {
      if ((flags & ENCRYPTED) !== 0) {
        throw zipError(place, `has an encrypted member ${quoted(name)}; unpack it first`)
      }
      if (offset + 30 > bytes.length || view.getUint32(offset, true) !== LOCAL_HEADER) {
        throw fail(`its header is not at byte ${offset}`)
      }
      const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true)
      if (start + packed > bytes.length) {
        throw fail(`it ends at byte ${start + packed}, the file at ${bytes.length}`)
      }
      const raw = bytes.subarray(start, start + packed)
      const content = unpack(raw, method, byteLength, fail)
      if (content.length !== byteLength) throw fail(`${content.length} bytes, expected ${byteLength}`)
      if (crc32(content) !== crc) throw fail('its CRC-32 does not match; copy the file anew')
      return content
    },
  }
}

/** The sizes and the offset of a directory entry, from its zip64 extra field where they don't fit. */
function sizes(view: DataView, at: number) {
  const fields = {
    byteLength: view.getUint32(at + 24, true),
    packed: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
  }
  const extraStart = at + 46 + view.getUint16(at + 28, true)
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

function unpack(
  raw: Uint8Array,
  method: number,
  byteLength: number,
  fail: (problem: string) => Error,
): Uint8Array {
  if (method === STORED) return raw
  if (method !== DEFLATED) {
    throw fail(`compression method ${method}; stored (0) and deflated (8) are read, as numpy.savez writes`)
  }
  if (byteLength > raw.length * DEFLATE_BEST_RATIO) {
    throw fail(`${raw.length} deflated bytes can't hold the ${byteLength} announced`)
  }
  try {
    return inflateRawSync(raw, { maxOutputLength: Math.max(1, byteLength) })
  } catch (error) {
    throw fail(`it can't be unpacked: ${(error as Error).message}`)
  }
}

/**
 * A zip archive of stored (not compressed) members; the same input gives the same bytes.
 * Throws `bad-input` at 4 GiB or 65,535 members, where the format would need zip64.
 */
export function writeZip(members: readonly { name: string; bytes: Uint8Array }[]): Uint8Array {
  const named = members.map(({ name, bytes }) => ({
    name: new TextEncoder().encode(name),
    bytes,
    crc: crc32(bytes),
  }))
  const total = named.reduce((sum, m) => sum + 76 + 2 * m.name.length + m.bytes.length, END_BYTES)
  if (total >= IN_ZIP64 || named.length >= COUNT_IN_ZIP64) {
    throw badInput(
      `an .npz of ${total} bytes and ${named.length} arrays is past the zip format's 4 GiB and 65,535; write safetensors`,
    )
  }
  const out = new Uint8Array(total)
  const view = new DataView(out.buffer)
  const offsets: number[] = []
  let at = 0
  for (const m of named) {
    offsets.push(at)
    view.setUint32(at, LOCAL_HEADER, true)
    writeCommonFields(view, at + 4, m)
    out.set(m.name, at + 30)
    out.set(m.bytes, at + 30 + m.name.length)
    at += 30 + m.name.length + m.bytes.length
  }
  const start = at
  named.forEach((m, i) => {
    view.setUint32(at, CENTRAL_HEADER, true)
    view.setUint16(at + 4, (MADE_BY_UNIX << 8) | VERSION_NEEDED, true)
    writeCommonFields(view, at + 6, m)
    view.setUint32(at + 38, UNIX_MODE * 0x10000, true)
    view.setUint32(at + 42, offsets[i], true)
    out.set(m.name, at + 46)
    at += 46 + m.name.length
  })
  view.setUint32(at, END, true)
  view.setUint16(at + 8, named.length, true)
  view.setUint16(at + 10, named.length, true)
  view.setUint32(at + 12, at - start, true)
  view.setUint32(at + 16, start, true)
  return out
}

/** The fields that a local header and a directory entry share, from "version needed" on. */
function writeCommonFields(
  view: DataView,
  at: number,
  m: { name: Uint8Array; bytes: Uint8Array; crc: number },
) {
  view.setUint16(at, VERSION_NEEDED, true)
  view.setUint16(at + 2, m.name.some((byte) => byte > 127) ? UTF8_NAME : 0, true)
  view.setUint16(at + 4, STORED, true)
  view.setUint16(at + 8, FIXED_DATE, true)
  view.setUint32(at + 10, m.crc, true)
  view.setUint32(at + 14, m.bytes.length, true)
  view.setUint32(at + 18, m.bytes.length, true)
  view.setUint16(at + 22, m.name.length, true)
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  return crc
})

/** The CRC-32 of zip and PNG (ISO 3309); node:zlib has one only from 22.2 on. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8)
  return ~crc >>> 0
}

const zipError = (place: ErrorPlace, problem: string) =>
  badInput(`${place.file ?? 'input'}: the zip archive ${problem}`, place)
