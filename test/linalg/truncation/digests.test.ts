import { expect, test } from 'vitest'
import { narrowHalf, widened } from '../../../src/linalg/matrix/half.ts'
import { type FloatArray, type HalfMatrix, type Matrix, matrix } from '../../../src/linalg/matrix/matrix.ts'
import { streamKeys } from '../../../src/linalg/truncation/streams.ts'
import { generator } from '../../engine/support.ts'

/** What results of earlier versions were made of: whoever changes one of these changes the bits of certificates. */
const KEYS: Readonly<Record<string, string>> = {
  'no entries': '619ac3d96273b6b1',
  zeros: '56c2863edcb24f54',
  'zeros of float64': 'c5108bb6c0290bc3',
  'negative zeros': '56c2863edcb24f54',
  'one entry': 'bc55f1075342c928',
  'largest float32': '2311af1b7eb3ea7d',
  'largest float64': 'a85c63d0494754e1',
  'largest last': '9a098441d96a2a56',
  'float32 2^0 over 20': 'dbf55ed19e786c8c',
  'float32 2^0 over 260': '1c7f2f50b5ab28be',
  'float32 2^1 over 20': 'dbf55ed19e786c8c',
  'float32 2^1 over 260': '4bf973c7a4e9de4d',
  'float32 2^-8 over 20': 'dbf55ed19e786c8c',
  'float32 2^-8 over 260': '894981e018080853',
  'float32 2^30 over 20': 'dbf55ed19e786c8c',
  'float32 2^30 over 260': 'de35453ba83f4b92',
  'float32 2^128 over 20': 'dbf55ed19e786c8c',
  'float32 2^128 over 260': '63ce65969a08787e',
  'float32 2^127 over 20': 'dbf55ed19e786c8c',
  'float32 2^127 over 260': '63ce65969a08787e',
  'float32 2^126 over 20': 'dbf55ed19e786c8c',
  'float32 2^126 over 260': '63ce65969a08787e',
  'float32 2^-60 over 20': 'dbf55ed19e786c8c',
  'float32 2^-60 over 260': 'ada844d0951bf94f',
  'float32 2^-126 over 20': '6423d76c2ab127f8',
  'float32 2^-126 over 260': 'c5d8464d11d39b0d',
  'float32 2^-130 over 20': '4add3c37867bf1d4',
  'float32 2^-130 over 260': 'e1076f22d83c02e6',
  'float32 2^-149 over 20': 'e9e9ab14538b187c',
  'float32 2^-149 over 260': '25df2469602d6045',
  'float64 2^0 over 20': '0eb650b965cf1dae',
  'float64 2^0 over 2100': 'bc4464a02b7682e4',
  'float64 2^-8 over 20': '0eb650b965cf1dae',
  'float64 2^-8 over 2100': 'b5caffe5b1b29fdb',
  'float64 2^300 over 20': '0eb650b965cf1dae',
  'float64 2^300 over 2100': 'bc4464a02b7682e4',
  'float64 2^1024 over 20': '0eb650b965cf1dae',
  'float64 2^1024 over 2100': 'bc4464a02b7682e4',
  'float64 2^-400 over 20': '0eb650b965cf1dae',
  'float64 2^-400 over 2100': 'e03c386b4c20317f',
  'float64 2^-900 over 20': '0eb650b965cf1dae',
  'float64 2^-900 over 2100': '588f714bec49cd7b',
  'float64 2^-1022 over 20': '0eb650b965cf1dae',
  'float64 2^-1022 over 2100': '828a40f90fc218bc',
  'float64 2^-1060 over 20': 'cb47bddcdf98a1fb',
  'float64 2^-1060 over 2100': '14a39e26e146ace6',
  'float64 2^-1074 over 20': '6eb5d9d78184c44a',
  'float64 2^-1074 over 2100': '4cc2209b1b7d91a5',
  'f16 2^0': '4d58c7cfeade2a56',
  'f16 2^12': '73bdc18b52c5d0b4',
  'f16 2^-9': '6935147b44bad3bd',
  'f16 2^-24': '0366eaebe2752839',
  'bf16 2^0': '762501aeb3ab739e',
  'bf16 2^120': '8b3f419d641c4f28',
  'bf16 2^-9': '9b75ec62ff66af07',
  'bf16 2^-133': '25df2469602d6045',
}

// more than two blocks of entries, and no multiple of four
const [ROWS, COLUMNS] = [181, 183]

/** Numbers of both signs whose exponents differ by up to `span`, zeros of both signs among them, times 2^exponent. */
function numbers(exponent: number, span: number, length = ROWS * COLUMNS): Float64Array {
  const random = generator(7)
  return Float64Array.from({ length }, (_, i) => {
    const x = random() * 2 ** -Math.floor(Math.abs(random()) * span)
    if (i % 13 === 0) return i % 2 === 0 ? 0 : -0
    // in two steps, as 2^exponent may be no number
    const half = Math.trunc(exponent / 2)
    return x * 2 ** half * 2 ** (exponent - half)
  })
}

const keyOf = (A: Matrix | HalfMatrix) =>
  Buffer.from(streamKeys(A, 7n, 'w').independent('probe').subarray(0, 8)).toString('hex')

const of = (data: FloatArray) => matrix(ROWS, COLUMNS, data)
const halves = (dtype: HalfMatrix['dtype'], data: Float64Array): HalfMatrix => ({
  rows: ROWS,
  columns: COLUMNS,
  dtype,
  data: narrowHalf(data, dtype),
})

const WIDE = [0, 1, -8, 30, 128, 127, 126, -60, -126, -130, -149]
const DOUBLE = [0, -8, 300, 1024, -400, -900, -1022, -1060, -1074]

const CASES: Record<string, () => Matrix | HalfMatrix> = {
  'no entries': () => matrix(0, 3, new Float32Array(0)),
  zeros: () => of(new Float32Array(ROWS * COLUMNS)),
  'zeros of float64': () => of(new Float64Array(ROWS * COLUMNS)),
  'negative zeros': () => of(new Float32Array(ROWS * COLUMNS).fill(-0)),
  'one entry': () => matrix(1, 1, Float32Array.of(-3)),
  'largest float32': () =>
    matrix(1, 5, Float32Array.of(2 ** 127 * (2 - 2 ** -23), -1, 2 ** -149, -(2 ** -149), -0)),
  'largest float64': () => matrix(1, 4, Float64Array.of(-Number.MAX_VALUE, 1, 2 ** -1074, -(2 ** -1074))),
  'largest last': () => of(Float32Array.from(numbers(0, 20)).fill(-77, ROWS * COLUMNS - 1)),
  ...Object.fromEntries(
    WIDE.flatMap((e) =>
      [20, 260].map((span) => [`float32 2^${e} over ${span}`, () => of(Float32Array.from(numbers(e, span)))]),
    ),
  ),
  ...Object.fromEntries(
    DOUBLE.flatMap((e) =>
      [20, 2100].map((span) => [`float64 2^${e} over ${span}`, () => of(numbers(e, span))]),
    ),
  ),
  ...Object.fromEntries([0, 12, -9, -24].map((e) => [`f16 2^${e}`, () => halves('f16', numbers(e, 30))])),
  ...Object.fromEntries(
    [0, 120, -9, -133].map((e) => [`bf16 2^${e}`, () => halves('bf16', numbers(e, 260))]),
  ),
}

test.each(Object.keys(CASES))('the key of %s is that of earlier versions', (name) => {
  const A = CASES[name]()
  expect(keyOf(A)).toBe(KEYS[name])
  expect(keyOf(widened(A))).toBe(KEYS[name])
})
