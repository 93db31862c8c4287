import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readTextMatrix } from '../../src/formats/text-matrix.ts'
import { errorOf } from './fixtures.ts'

const read = (text: string) => readTextMatrix(new TextEncoder().encode(text), 'w.mtx').matrix
const rowsOf = (text: string) => {
  const { rows, columns, data } = read(text)
  return Array.from({ length: rows }, (_, i) => [...data.subarray(i * columns, (i + 1) * columns)])
}

/** The first is the example of NIST's own page of the format (math.nist.gov/MatrixMarket/formats.html). */
test.each<[string, string, number[][]]>([
  [
    'coordinate',
    `%%MatrixMarket matrix coordinate real general
% a comment

  5  5  8
    1     1   1.000e+00
    2     2   1.050e+01
    3     3   1.500e-02
    1     4   6.000e+00
    4     2   2.505e+02
    4     4  -2.800e+02
    4     5   3.332e+01
    5     5   1.200e+01
`,
    [
      [1, 0, 0, 6, 0],
      [0, 10.5, 0, 0, 0],
      [0, 0, 0.015, 0, 0],
      [0, 250.5, 0, -280, 33.32],
      [0, 0, 0, 0, 12],
    ],
  ],
  [
    'array, by columns',
    '%%MatrixMarket matrix array real general\n2 3\n1\n2\n3\n4\n5\n6\n',
    [
      [1, 3, 5],
      [2, 4, 6],
    ],
  ],
  [
    'symmetric array',
    '%%MatrixMarket matrix array integer symmetric\n2 2\n1\n2\n3\n',
    [
      [1, 2],
      [2, 3],
    ],
  ],
  [
    'skew-symmetric array',
    '%%MatrixMarket matrix array real skew-symmetric\n2 2\n5\n',
    [
      [0, -5],
      [5, 0],
    ],
  ],
  [
    'symmetric',
    '%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 7\n2 1 3\n',
    [
      [7, 3],
      [3, 0],
    ],
  ],
  [
    'pattern',
    '%%MatrixMarket matrix coordinate pattern general\r\n2 2 1\r\n1 2\r\n',
    [
      [0, 1],
      [0, 0],
    ],
  ],
  [
    'one place twice, as SciPy',
    '%%MatrixMarket matrix coordinate real general\n1 1 2\n1 1 3\n1 1 4\n',
    [[7]],
  ],
])('%s', (_, text, rows) => {
  expect(rowsOf(text)).toEqual(rows)
})

const HEAD = '%%MatrixMarket matrix coordinate real general\n'
test.each([
  ['%%MatrixMarket vector array real general\n', 'is no Matrix Market matrix'],
  ['%%MatrixMarket matrix array complex general\n', 'holds "complex" numbers'],
  ['%%MatrixMarket matrix array real hermitian\n', 'is "hermitian"'],
  [`${HEAD}1000000 1000000 1\n1 1 1\n`, 'at most 268435456 entries'],
  // memory is not taken for what a file has no room for
  ['%%MatrixMarket matrix array real general\n16000 16000\n1\n', 'ends before an entry; fetch it again'],
  ['%%MatrixMarket matrix array real symmetric\n3 3\n1\n2\n3\n4\n', 'ends before an entry'],
  [`${HEAD}2 2 99\n1 1 1\n`, 'ends before row, column and value'],
  [
    `${HEAD}16000 16000 2\n1 1 1\n2 2 2\n`,
    'has 2 entries of a matrix of 16000 × 16000, all others being zeros; past 16777216 at most 1000 places are read for each',
  ],
  [`${HEAD}2 2 nan\n`, 'line 2: "2 2 nan" is not rows, columns and entries'],
  [`${HEAD}2 2 -1\n`, 'line 2: "2 2 -1" is not rows, columns and entries'],
  [`${HEAD}2 2 1\n3 1 1\n`, 'line 3: row 3, column 1 is outside 2 × 2'],
  [`${HEAD}2 2 1\n1 1 x\n`, 'line 3: "1 1 x" is not row, column and value'],
  [`${HEAD}2 2 2\n1 1 1\n`, 'ends before row, column and value'],
  [`${HEAD}2 2 1\n1 1 1\n1 2 3\n`, 'line 4: more entries than announced'],
  [`${HEAD}-1 2 1\n`, 'has a matrix of -1 × 2'],
  [`${HEAD}`, 'ends before rows, columns and entries'],
  ['%%MatrixMarket matrix array real symmetric\n2 3\n1\n', 'is symmetric, but 2 × 3'],
])('%j is refused', async (text, says) => {
  expect((await errorOf(() => read(text))).message).toContain(says)
})

test('any matrix written by columns reads back the same', () => {
  const shape = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }))
  fc.assert(
    fc.property(
      shape,
      fc.infiniteStream(fc.double({ noNaN: true, noDefaultInfinity: true })),
      ([m, n], stream) => {
        const data = [...stream.take(m * n)].map((x) => x + 0)
        const byColumns = data.map((_, k) => data[(k % m) * n + Math.floor(k / m)])
        const text = `%%MatrixMarket matrix array real general\n${m} ${n}\n${byColumns.join('\n')}\n`
        expect([...read(text).data]).toEqual(data)
      },
    ),
  )
})
