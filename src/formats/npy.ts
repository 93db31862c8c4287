import { basename } from 'node:path'
import { badInput, type ErrorPlace, type LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import type { FloatArray, Matrix } from '../linalg/matrix/matrix.ts'
import { counted, quoted } from '../text/quote.ts'
import { bytesPerElement, encodeFloats, type FloatDtype, type PlainDtype, swapBytes } from './dtype.ts'
import { safetensorsDtypeOf } from './safetensors-dtype.ts'
import type { Contents, TensorInfo } from './tensor-set.ts'

/** The float types that NumPy has. */
export type NpyFloat = Exclude<FloatDtype, 'bf16'>

/** Which arrays are wanted: matrices alone, or those of any number of dimensions. */
export type ArrayShapes = 'matrices' | 'any'

interface NpyHeader {
  readonly dtype: PlainDtype
  readonly littleEndian: boolean
  readonly fortranOrder: boolean
  readonly shape: readonly number[]
  /** Where the numbers start in the file. */
  readonly dataStart: number
}

/** The bytes with which every .npy file starts. */
export const NPY_MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]

/** NumPy refuses longer headers too, as its parser is slow on them (`max_header_size`); ours for a matrix are 118 long. */
const HEADER_CHARACTER_LIMIT = 10_000

/** Rows and columns that are turned at once. */
const TILE = 32

/** NumPy pads so that the numbers start at a multiple of this. */
const ALIGNMENT = 64

/** NumPy leaves room for the first dimension to grow to this many digits in place. */
const GROWTH_DIGITS = 21

const DTYPES = new Map<string, PlainDtype>([
  ['f8', 'f64'],
  ['f4', 'f32'],
  ['f2', 'f16'],
  ['b1', 'bool'],
  ['u1', 'uint8'],
  ['i1', 'int8'],
  ['u2', 'uint16'],
  ['i2', 'int16'],
  ['u4', 'uint32'],
  ['i4', 'int32'],
  ['u8', 'uint64'],
  ['i8', 'int64'],
])

/** Enough of a .npy file's start to hold any header that is read. */
export const NPY_HEADER_BYTES = 12 + HEADER_CHARACTER_LIMIT

/** The array of a .npy file, which is called as the file is. Reads the header. Throws as `describeNpy` does. */
export async function openNpy(source: ByteSource): Promise<Contents> {
  const place = { file: source.name }
  const start = await source.read(0, Math.min(NPY_HEADER_BYTES, source.byteLength))
  const array = describeNpy(start, source.byteLength, basename(source.name), place)
  return {
    format: 'npy',
    names: [array.name],
    tensors: new Map([[array.name, array]]),
    metadata: new Map(),
    refused: new Map(),
    warnings: [],
    headerBytes: start.length,
    decode: async () => decodeNpy(await source.read(0, source.byteLength), place),
  }
}

/**
 * What the start of a .npy file (versions 1 to 3) of `byteLength` bytes says of its array, which is called `name`. Its bytes have a
 * range in the file where they lie there by rows and in little-endian order. Throws `bad-input` for other kinds of entries, other
 * than two dimensions where `shapes` are those of matrices, and bytes that are missing or left over. Source: numpy/lib/format.py.
 */
export function describeNpy(
  start: Uint8Array,
  byteLength: number,
  name: string,
  place: ErrorPlace,
  shapes: ArrayShapes = 'matrices',
): TensorInfo {
  const { shape, dtype, dataStart, littleEndian, fortranOrder } = readNpyHeader(start, place, byteLength)
  assertShape(shape, fortranOrder, shapes, place)
  const isPlain = !fortranOrder && (littleEndian || bytesPerElement(dtype) === 1)
  return {
    name,
    dtype: safetensorsDtypeOf(dtype),
    shape,
    bytes: byteLength - dataStart,
    ...(isPlain && { range: { begin: dataStart, end: byteLength } }),
  }
}

/**
 * The entries of the array of a whole .npy file, by rows and in little-endian order. Shares the memory of `bytes` where they lie so.
 * Throws as `describeNpy` does.
 */
export function decodeNpy(
  bytes: Uint8Array,
  place: ErrorPlace,
  shapes: ArrayShapes = 'matrices',
): Uint8Array {
  const { shape, dtype, dataStart, littleEndian, fortranOrder } = readNpyHeader(bytes, place)
  assertShape(shape, fortranOrder, shapes, place)
  const size = bytesPerElement(dtype)
  const data = bytes.subarray(dataStart)
  const ordered = littleEndian || size === 1 ? data : swapBytes(data, size)
  return fortranOrder && shape.length === 2 ? byRows(ordered, shape[0], shape[1], size) : ordered
}

/** Entries of `size` bytes that lie by columns, put by rows: in square tiles, so that both sides stay in cache. */
function byRows(bytes: Uint8Array, rows: number, columns: number, size: number): Uint8Array {
  const Words = size === 1 ? Uint8Array : size === 2 ? Uint16Array : Uint32Array
  const words = Math.max(1, size / 4)
  // unpacked bytes are a Buffer, whose slice is no copy
  const aligned = bytes.byteOffset % Words.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes)
  const from = new Words(aligned.buffer as ArrayBuffer, aligned.byteOffset, rows * columns * words)
  const to = new Words(from.length)
  for (let i0 = 0; i0 < rows; i0 += TILE) {
    const i1 = Math.min(rows, i0 + TILE)
    for (let j0 = 0; j0 < columns; j0 += TILE) {
      const j1 = Math.min(columns, j0 + TILE)
      for (let i = i0; i < i1; i++) {
        for (let j = j0; j < j1; j++) {
          for (let k = 0; k < words; k++) to[(i * columns + j) * words + k] = from[(j * rows + i) * words + k]
        }
      }
    }
  }
  return new Uint8Array(to.buffer)
}

/** The header of a .npy file of `byteLength` bytes that starts with `bytes`, checked against its length. Throws `bad-input`. */
function readNpyHeader(bytes: Uint8Array, place: ErrorPlace, byteLength = bytes.length): NpyHeader {
  if (NPY_MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw npyError(place, 'does not start as a .npy file does (93 4E 55 4D 50 59); write it with numpy.save')
  }
  const [major, minor] = [bytes[6], bytes[7]]
  if (!(major >= 1 && major <= 3 && minor === 0)) {
    throw npyError(place, `is .npy version ${major}.${minor}; versions 1.0, 2.0 and 3.0 are read`)
  }
  const lengthBytes = major === 1 ? 2 : 4
  const headerStart = 8 + lengthBytes
  if (bytes.length < headerStart) throw truncated(place, bytes.length, headerStart)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const headerLength = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (headerLength > HEADER_CHARACTER_LIMIT) {
    throw npyError(
      place,
      `has a header of ${headerLength} bytes; at most ${HEADER_CHARACTER_LIMIT} are read, as NumPy does`,
    )
  }
  const dataStart = headerStart + headerLength
  if (bytes.length < dataStart) throw truncated(place, bytes.length, dataStart)
  const header = { ...parseHeader(bytes.subarray(headerStart, dataStart), major, place), dataStart }
  checkLength(byteLength, header, place)
  return header
}

function parseHeader(bytes: Uint8Array, major: number, place: ErrorPlace): Omit<NpyHeader, 'dataStart'> {
  const text = new TextDecoder(major === 3 ? 'utf-8' : 'latin1').decode(bytes)
  if (/['"]descr['"]\s*:\s*\[/.test(text)) {
    throw npyError(
      place,
      "holds a structured array (named fields); save one field: numpy.save(file, a['field'])",
    )
  }
  const entries = parseEntries(text, place)
  const keys = [...entries.keys()].sort().join(', ')
  if (keys !== 'descr, fortran_order, shape') {
    throw npyError(place, `has a header with the keys ${quoted(keys)}; expected descr, fortran_order, shape`)
  }
  const [descr, fortranOrder, shape] = ['descr', 'fortran_order', 'shape'].map((key) => entries.get(key))
  if (typeof descr !== 'string') throw npyError(place, 'has a header whose descr is not a string')
  if (typeof fortranOrder !== 'boolean') {
    throw npyError(place, 'has a header whose fortran_order is neither True nor False')
  }
  if (!Array.isArray(shape)) throw npyError(place, 'has a header whose shape is not a tuple of integers')
  return { ...parseDescr(descr, place), fortranOrder, shape }
}

/** What a header holds under its keys. */
type HeaderValue = string | boolean | number | number[]

/** The tokens of a header: quoted strings, integers (`5L` as Python 2 wrote them), True and False, and marks. */
const TOKEN =
  /[ \t\n\r\f]*(?:'([^'\\\n]*)'|"([^"\\\n]*)"|(0|[1-9][0-9]*)L?(?![0-9A-Za-z_.])|(True|False)(?![0-9A-Za-z_])|([{}():,])|$)/y

/** The members of a Python dict literal of strings, booleans, integers and tuples of integers; no key twice. Throws `bad-input`. */
function parseEntries(text: string, place: ErrorPlace): Map<string, HeaderValue> {
  let at = 0
  const peek = (): string | number | boolean | { readonly mark: string } | undefined => {
    TOKEN.lastIndex = at
    const found = TOKEN.exec(text)
    if (found === null) return undefined
    const [, single, double, digits, word, mark = ''] = found
    if (digits !== undefined) return Number(digits)
    return single ?? double ?? (word === undefined ? { mark } : word === 'True')
  }
  const next = () => {
    const token = peek()
    at = TOKEN.lastIndex
    return token
  }
  const fail = (expected: string): never => {
    while (/[ \t\n\r\f]/.test(text.charAt(at))) at++
    const found = at < text.length ? quoted(text.slice(at, at + 12)) : 'its end'
    throw npyError(
      place,
      `has a header that can't be read: expected ${expected} at character ${at + 1}, found ${found}`,
    )
  }
  const isNext = (mark: string) => {
    const token = peek()
    return typeof token === 'object' && token.mark === mark
  }
  const take = (mark: string) => isNext(mark) && next() !== undefined
  const integer = (): number => {
    const value = peek()
    if (typeof value !== 'number') return fail('an integer')
    if (!Number.isSafeInteger(value)) return fail('an integer below 2^53')
    next()
    return value
  }
  /** `()`, `(5,)`, `(3, 4)`, `(3, 4,)` after the parenthesis; `(5)` is just the number 5 to Python. */
  const tuple = (): number | number[] => {
    const items: number[] = []
    while (!take(')')) {
      items.push(integer())
      if (take(',')) continue
      if (!take(')')) fail('"," or ")"')
      return items.length === 1 ? items[0] : items
    }
    return items
  }
  const value = (): HeaderValue => {
    if (take('(')) return tuple()
    const token = peek()
    if (typeof token === 'number') return integer()
    if (typeof token === 'object' || token === undefined) {
      return fail('a string, True, False or a tuple of integers')
    }
    next()
    return token
  }
  const entries = new Map<string, HeaderValue>()
  if (!take('{')) fail('"{"')
  while (!take('}')) {
    const key = peek()
    if (typeof key !== 'string') return fail('a quoted string')
    if (entries.has(key)) fail(`each key once (${quoted(key)} comes twice)`)
    next()
    if (!take(':')) fail('":"')
    entries.set(key, value())
    if (take(',')) continue
    if (!take('}')) fail('"," or "}"')
    break
  }
  if (!isNext('')) fail('nothing more')
  return entries
}

function parseDescr(descr: string, place: ErrorPlace): { dtype: PlainDtype; littleEndian: boolean } {
  const [, order, kind] = /^([<>=|]?)(.*)$/s.exec(descr)!
  const dtype = DTYPES.get(kind)
  if (dtype === undefined) throw npyError(place, unreadable(descr, kind))
  // "=" is the order of the machine that wrote it, in practice little-endian; NumPy itself never writes it
  return { dtype, littleEndian: order !== '>' }
}

function unreadable(descr: string, kind: string): string {
  if (kind.startsWith('O')) {
    return 'holds pickled Python objects, which can run code when read; save numbers: numpy.save(file, a.astype("float64"))'
  }
  if (kind.startsWith('c')) {
    return `holds complex numbers (${quoted(descr)}); save the real part: numpy.save(file, a.real)`
  }
  if (kind === 'V2') {
    return `holds 2-byte raw entries (${quoted(descr)}), as ml_dtypes' bfloat16 is saved; save a.astype("float32"), or use safetensors for bf16`
  }
  const advice = 'float16, float32, float64, integers and bool are read; save a.astype("float64")'
  return kind === 'f16' || kind === 'f12'
    ? `holds long doubles (${quoted(descr)}); ${advice}`
    : `holds entries of type ${quoted(descr)}; ${advice}`
}

function checkLength(byteLength: number, header: NpyHeader, place: ErrorPlace): void {
  const { shape, dtype, dataStart } = header
  // a zero anywhere means no entries, whatever the other dimensions multiply to
  const count = shape.includes(0) ? 0 : shape.reduce((product, n) => product * n, 1)
  const expected = dataStart + count * bytesPerElement(dtype)
  if (!Number.isSafeInteger(expected)) {
    throw npyError(place, `has the shape ${tupleText(shape)}, more entries than any file can hold`)
  }
  if (byteLength < expected) throw truncated(place, byteLength, expected)
  if (byteLength > expected) {
    throw npyError(
      place,
      `has ${counted(byteLength - expected, 'byte')} after the array's end (${byteLength}, expected ${expected} for shape ${tupleText(shape)}); save it anew with numpy.save`,
    )
  }
}

/**
 * A matrix (as shape (rows, columns)) or a vector (as shape (n,)) as .npy version 1.0, the bytes that numpy.save writes;
 * rounded to `dtype` where one is given, which doesn't look for overflow: ask `findOverflow` first.
 */
export function writeNpy(array: Matrix | FloatArray, dtype?: NpyFloat): Uint8Array {
  const isVector = array instanceof Float32Array || array instanceof Float64Array
  const data = isVector ? array : array.data
  const stored = dtype ?? (data instanceof Float32Array ? 'f32' : 'f64')
  const header = headerBytes(stored, isVector ? [data.length] : [array.rows, array.columns])
  const numbers = encodeFloats(data, stored)
  const bytes = new Uint8Array(header.length + numbers.length)
  bytes.set(header)
  bytes.set(numbers, header.length)
  return bytes
}

function headerBytes(dtype: NpyFloat, shape: readonly number[]): Uint8Array {
  const descr = `<f${bytesPerElement(dtype)}`
  const growth = ' '.repeat(GROWTH_DIGITS - String(shape[0]).length)
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tupleText(shape)}, }${growth}`
  const prefixLength = NPY_MAGIC.length + 4
  const unpadded = prefixLength + dict.length + 1
  const text = `${dict}${' '.repeat(ALIGNMENT - (unpadded % ALIGNMENT))}\n`
  const bytes = new Uint8Array(prefixLength + text.length)
  bytes.set(NPY_MAGIC)
  bytes.set([1, 0, text.length & 255, text.length >>> 8], NPY_MAGIC.length)
  bytes.set(new TextEncoder().encode(text), prefixLength)
  return bytes
}

const tupleText = (shape: readonly number[]) => `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`

function assertShape(
  shape: readonly number[],
  fortranOrder: boolean,
  shapes: ArrayShapes,
  place: ErrorPlace,
): void {
  if (shape.length === 2) return
  if (shapes === 'matrices') throw notAMatrix(shape, place)
  if (shape.length < 2 || !fortranOrder) return
  throw npyError(
    place,
    `holds a ${shape.length}-D array by columns (Fortran's order); save numpy.ascontiguousarray(a)`,
  )
}

/** The refusal of an array that isn't 2-D, with the way to make it so. */
function notAMatrix(shape: readonly number[], place: ErrorPlace): LoraSvdError {
  if (shape.length === 0)
    return npyError(place, 'holds a single number (shape ()); a matrix has 2 dimensions')
  const reshape =
    shape.length === 1
      ? 'a.reshape(1, -1) for one row, a.reshape(-1, 1) for one column'
      : 'a.reshape(a.shape[0], -1)'
  return npyError(
    place,
    `holds a ${shape.length}-D array of shape ${tupleText(shape)}; a matrix has 2 dimensions: save ${reshape}`,
  )
}

const truncated = (place: ErrorPlace, found: number, expected: number) =>
  npyError(place, `ends after ${counted(found, 'byte')} where ${expected} are expected; copy or save it anew`)

const npyError = (place: ErrorPlace, problem: string) =>
  badInput(
    `${place.file ?? 'input'}: ${place.tensor === undefined ? 'the file' : `array ${quoted(place.tensor)}`} ${problem}`,
    place,
  )
