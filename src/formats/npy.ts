import { badInput, type ErrorPlace, type LoraSvdError } from '../errors.ts'
import { type FloatArray, type Matrix, transpose } from '../linalg/matrix/matrix.ts'
import { counted, quoted } from '../text/quote.ts'
import {
  bytesPerElement,
  decodeFloats,
  decodeIntegers,
  encodeFloats,
  type FloatDtype,
  type IntegerDtype,
  type StoredDtype,
} from './dtype.ts'
import { parsePythonDict } from './python-literal.ts'

/** The float types that NumPy has. */
export type NpyFloat = Exclude<FloatDtype, 'bf16'>

export interface NpyHeader {
  readonly dtype: StoredDtype
  readonly littleEndian: boolean
  readonly fortranOrder: boolean
  readonly shape: readonly number[]
  /** Where the numbers start in the file. */
  readonly dataStart: number
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]

/** NumPy refuses longer headers too, as its parser is slow on them (`max_header_size`); ours for a matrix are 118 long. */
const HEADER_CHARACTER_LIMIT = 10_000

/** NumPy pads so that the numbers start at a multiple of this. */
const ALIGNMENT = 64

/** NumPy leaves room for the first dimension to grow to this many digits in place. */
const GROWTH_DIGITS = 21

const DTYPES = new Map<string, StoredDtype>([
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

export const isNpy = (bytes: Uint8Array) => MAGIC.every((byte, i) => bytes[i] === byte)

/**
 * The 2-D array of a .npy file (versions 1 to 3): f16 and f32 as float32, f64, integers and booleans as float64.
 * A float array may share the memory of `bytes`. Throws `bad-input` for anything else: other kinds of entries,
 * other than two dimensions, truncated or trailing bytes. Source: numpy/lib/format.py.
 */
export function readNpy(bytes: Uint8Array, place: ErrorPlace): { matrix: Matrix; dtype: StoredDtype } {
  const header = readNpyHeader(bytes, place)
  const { shape, dtype, fortranOrder } = header
  if (shape.length !== 2) throw notAMatrix(shape, place)
  const [rows, columns] = fortranOrder ? [shape[1], shape[0]] : shape
  const data = readNumbers(bytes, header, place, (index) => {
    const [major, minor] = [Math.floor(index / columns), index % columns]
    const [row, column] = fortranOrder ? [minor, major] : [major, minor]
    return `the entry at row ${row + 1}, column ${column + 1}`
  })
  const stored = { rows, columns, data }
  return { matrix: fortranOrder ? transpose(stored) : stored, dtype }
}

/** Enough of a .npy file's start to hold any header that is read. */
export const NPY_HEADER_BYTES = 12 + HEADER_CHARACTER_LIMIT

/** The header of a .npy file of `byteLength` bytes that starts with `bytes`, checked against its length. Throws `bad-input`. */
export function readNpyHeader(bytes: Uint8Array, place: ErrorPlace, byteLength = bytes.length): NpyHeader {
  if (!isNpy(bytes)) {
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
  const [descr, fortranOrder, shape] = [
    entries.get('descr'),
    entries.get('fortran_order'),
    entries.get('shape'),
  ]
  if (typeof descr !== 'string') throw npyError(place, 'has a header whose descr is not a string')
  if (typeof fortranOrder !== 'boolean') {
    throw npyError(place, 'has a header whose fortran_order is neither True nor False')
  }
  if (!Array.isArray(shape)) throw npyError(place, 'has a header whose shape is not a tuple of integers')
  return { ...parseDescr(descr, place), fortranOrder, shape }
}

function parseEntries(text: string, place: ErrorPlace) {
  try {
    return parsePythonDict(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw npyError(place, `has a header that can't be read: ${error.message}`)
  }
}

function parseDescr(descr: string, place: ErrorPlace): { dtype: StoredDtype; littleEndian: boolean } {
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

function readNumbers(
  bytes: Uint8Array,
  header: NpyHeader,
  place: ErrorPlace,
  describe: (index: number) => string,
): FloatArray {
  const { dtype, littleEndian, dataStart } = header
  const data = bytes.subarray(dataStart)
  return isFloat(dtype)
    ? decodeFloats(data, dtype, littleEndian)
    : decodeIntegers(data, dtype as IntegerDtype, littleEndian, place, describe)
}

const isFloat = (dtype: StoredDtype): dtype is FloatDtype => /^b?f\d/.test(dtype)

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
  const prefixLength = MAGIC.length + 4
  const unpadded = prefixLength + dict.length + 1
  const text = `${dict}${' '.repeat(ALIGNMENT - (unpadded % ALIGNMENT))}\n`
  const bytes = new Uint8Array(prefixLength + text.length)
  bytes.set(MAGIC)
  bytes.set([1, 0, text.length & 255, text.length >>> 8], MAGIC.length)
  bytes.set(new TextEncoder().encode(text), prefixLength)
  return bytes
}

const tupleText = (shape: readonly number[]) => `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`

/** The refusal of an array that isn't 2-D, with the way to make it so. */
export function notAMatrix(shape: readonly number[], place: ErrorPlace): LoraSvdError {
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
