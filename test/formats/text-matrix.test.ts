import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readTextMatrix } from '../../src/formats/text-matrix.ts'
import type { Matrix } from '../../src/matrix/matrix.ts'
import { errorOf, fixtureBytes, numbers, peers } from './fixtures.ts'

const read = (text: string) => readTextMatrix(new TextEncoder().encode(text), 'w.csv')
const rowsOf = (text: string) => {
  const { rows, columns, data } = read(text)
  return Array.from({ length: rows }, (_, i) => [...data.subarray(i * columns, (i + 1) * columns)])
}
const messageOf = async (text: string) => (await errorOf(() => read(text))).message
const { NaN: nan, POSITIVE_INFINITY: inf } = Number

/** A matrix as text, every number in the fewest digits that read back as the same float64. */
function written({ rows, columns, data }: Matrix, delimiter: string): string {
  const text = (x: number) => {
    if (Number.isFinite(x)) return Object.is(x, -0) ? '-0' : String(x)
    return Number.isNaN(x) ? 'nan' : x > 0 ? 'inf' : '-inf'
  }
  const row = (i: number) => Array.from(data.subarray(i * columns, (i + 1) * columns), text).join(delimiter)
  return Array.from({ length: rows }, (_, i) => `${row(i)}\n`).join('')
}

describe('text of numbers', () => {
  test.each(peers.pandas)('$file: the numbers that pandas wrote', (table) => {
    const { rows, columns, data } = readTextMatrix(fixtureBytes(table.file), table.file)
    expect([rows, columns]).toEqual(table.shape)
    expect([...data]).toEqual(numbers(table))
  })

  test.each<[string, string, number[][]]>([
    [
      'blanks',
      ' 1  2\n3\t4 \n',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      'commas and blanks',
      '1, 2\n 3 ,4\n',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      'commas and tabs',
      '1,\t2\n3,\t4',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      'no newline at the end',
      '1;2\n3;4',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['one number', '5', [[5]]],
    [
      'comments, before, between and beside',
      '# a, b\n1 2 # one\n\n  # no\n3 4\n',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      'Windows lines and a byte order mark',
      '\ufeff1,2\r\n3,4\r\n',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['every way to write a number', '+1 -2. .5 1e3 1E-3 -0', [[1, -2, 0.5, 1000, 0.001, -0]]],
    ['not a number, and infinity', 'nan,NaN,-nan,inf,-Infinity,+INF', [[nan, nan, nan, inf, -inf, inf]]],
    [
      'missing values',
      '1,,NA\n,2,null\n',
      [
        [1, nan, nan],
        [nan, 2, nan],
      ],
    ],
    [
      'a missing value first',
      ',1.5,2.5\n3.5,4,5\n',
      [
        [nan, 1.5, 2.5],
        [3.5, 4, 5],
      ],
    ],
    [
      'a missing value before integers',
      ',1,2\n3.0,4,5\n',
      [
        [nan, 1, 2],
        [3, 4, 5],
      ],
    ],
    [
      'quoted numbers',
      '"1","2"\n"3", "4" \n',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['quoted cells between blanks', '"a b" "c"\n1 "2"\n', [[1, 2]]],
    ['names between blanks', 'first second\n1 2\n', [[1, 2]]],
    ['names with a mark inside quotes', '"a,b";"c#d"\n1;2\n', [[1, 2]]],
    ['an index without a name', '"","a"\nr1,2\n"r2",3\n', [[2], [3]]],
    [
      'row and column labels with a #',
      ',a#,b\nr#1,2,3 # one\n"r,#2",4,5\n',
      [
        [2, 3],
        [4, 5],
      ],
    ],
    [
      'an index under labels that are integers',
      ',10,20\n0,1,2\n1,3,4\n',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['a row of names whose first has a name', 'n,a\n1,2\n', [[1, 2]]],
  ])('%s', (_, text, rows) => {
    expect(rowsOf(text)).toEqual(rows)
  })

  test('nothing, comments alone and a row of names alone give no rows', () => {
    expect(read('')).toMatchObject({ rows: 0, columns: 0 })
    expect(read('# nothing\n\n')).toMatchObject({ rows: 0, columns: 0 })
    expect(read('a,b\n')).toMatchObject({ rows: 0, columns: 2 })
  })

  test.each([
    ['1 2\n3\n', 'w.csv: line 2 has 1 cell, line 1 has 2'],
    ['# c\na,b\n\n1,2,3\n', 'w.csv: line 4 has 3 cells, line 2 has 2'],
    ['1,2\n3,x\n', 'w.csv: line 2, column 2: "x" is not a number'],
    [',a\ni,x\n', 'w.csv: line 2, column 2: "x"'],
    ['1 2\n1 0x1\n', '"0x1" is not a number'],
    ['1 2\n1 1_0\n', '"1_0" is not a number'],
    ['1 2\n1 1e\n', '"1e" is not a number'],
    ['1 2\n1 .\n', '"." is not a number'],
    ['1 2\n1 infinite\n', '"infinite" is not a number'],
    ['"1","2\n', 'line 1 has a quote at character 5 that is not closed'],
    ['"1"x,2\n', 'line 1 has text beside a quoted cell at character 4'],
    ['a;b\n1,5;2\n', 'write decimals with a point'],
  ])('refuses %j', async (text, reason) => {
    expect(await messageOf(text)).toContain(reason)
  })

  test('a long or unprintable cell is shown short and on one line', async () => {
    const message = await messageOf(`1 2\n3 ${'é\u202e\u001b[31m'.repeat(2000)}\n`)
    expect(message.length).toBeLessThan(800)
    expect(message).toMatch(/^[^\p{Cc}\p{Cf}]*$/u)
  })

  test('a hostile cell takes time in proportion to its length', async () => {
    const digits = '1'.repeat(2_000_000)
    for (const cell of [
      `${digits}x`,
      `${digits}.${digits}x`,
      `${' '.repeat(2_000_000)}x`,
      `"${'""'.repeat(1_000_000)}`,
    ]) {
      await errorOf(() => read(`1,2\n3,${cell}\n`))
    }
  })

  test('any matrix reads back the same, bit for bit', () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 1, max: 4 }))
    const delimiter = fc.constantFrom(',', '\t', ' ' as const)
    fc.assert(
      fc.property(shape, fc.infiniteStream(fc.double()), delimiter, ([rows, columns], stream, mark) => {
        const A = { rows, columns, data: Float64Array.from([...stream.take(rows * columns)]) }
        expect(read(written(A, mark))).toEqual(A)
      }),
    )
  })
})
