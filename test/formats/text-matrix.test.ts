import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readTextMatrix } from '../../src/formats/text-matrix.ts'
import type { Matrix } from '../../src/linalg/matrix/matrix.ts'
import { errorOf, fixtureBytes, numbers, peers } from './fixtures.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)
const read = (text: string) => readTextMatrix(bytesOf(text), 'w.csv').matrix
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
    const { rows, columns, data } = readTextMatrix(fixtureBytes(table.file), table.file).matrix
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
    ['a;b\n1,5;2.5\n', 'line 2, column 2: "2.5" is not a number; other cells have decimal commas'],
    ['1.5;2,5\n', 'line 1, column 2: "2,5" is not a number; write decimals with a point'],
    ['a,b\n"1,5",2\n', '"1,5" is not a number; write decimals with a point'],
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
    const blanks = '\n'.repeat(1_000_000)
    for (const text of [
      `[1]${blanks}x`,
      `[1${blanks}x`,
      `${'['.repeat(1_000_000)}`,
      `a${blanks}=${blanks}(`,
    ]) {
      await errorOf(() => read(`${text}\n1,2\n3\n`))
    }
    expect(read(`[${'[1, 2],\n'.repeat(100_000)}]`).rows).toBe(100_000)
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

describe('a first row with a number in it is no row of names', () => {
  test.each([
    ['1,-,3', 2, '"-" is not a number; remove or replace it'],
    ['1,?,3', 2, '"?"'],
    ['5%,2%,3%', 1, '"5%" is not a number; write it as a share'],
    ['$1.5,2,3', 1, '"$1.5"'],
    ['1.5,x,3', 2, '"x"'],
    ['"1,5","2,5","3,5"', 1, '"1,5" is not a number; write decimals with a point'],
    ['"1,234.5","2","3"', 1, '"1,234.5" is not a number; write it without marks between thousands'],
    ['1 234.5,2,3', 1, '"1 234.5" is not a number; write it without marks between thousands'],
    ['0x1F,2,3', 1, '"0x1F"'],
    ['1_000,2,3', 1, '"1_000"'],
    ["1'234,2,3", 1, `"1'234"`],
    ['(1.5),2,3', 1, '"(1.5)"'],
    ['a,1,2', 1, '"a"'],
    ['1|2|3', 1, '"1|2|3"'],
  ])('%s', async (row, column, says) => {
    const message = await messageOf(`${row}\n4,5,6\n`)
    expect(message).toContain(`w.csv: line 1, column ${column}: ${says}`)
    expect(message).toContain('; if the row holds names, say --header yes')
  })

  test.each<[string, number[][]]>([
    ['1.5D+02,-2d1,.5D0\n', [[150, -20, 0.5]]],
    ['−0.5,−2\n', [[-0.5, -2]]],
    ['-,?\n1,2\n', [[1, 2]]],
    ['a,nan\n1,2\n', [[1, 2]]],
  ])('%j is unambiguous', (text, rows) => {
    expect(rowsOf(text)).toEqual(rows)
  })

  test('whatever single cell of a first row of numbers is spoilt, nothing is dropped', () => {
    const spoilt = fc.oneof(
      fc.string({ maxLength: 6 }),
      fc.constantFrom('-', '?', '5%', '$1', '1,5', 'abc', '1 2'),
    )
    const anyNumber = fc.double({ noNaN: true, noDefaultInfinity: true })
    fc.assert(
      fc.property(fc.array(anyNumber, { minLength: 2, maxLength: 5 }), fc.nat(4), spoilt, (row, at, cell) => {
        const cells = row.map((x, j) =>
          j === at % row.length ? `"${cell.replaceAll('"', '""')}"` : String(x),
        )
        const last = row.map(() => '7').join(',')
        try {
          expect(read(`${cells.join(',')}\n${last}\n`).rows).toBe(2)
        } catch (error) {
          if ((error as { code?: string }).code !== 'bad-input') throw error
        }
      }),
    )
  })
})

describe('--header', () => {
  const warningsOf = (text: string, header?: 'yes' | 'no') =>
    readTextMatrix(bytesOf(text), 'w.csv', header).warnings
  const of = (text: string, header: 'yes' | 'no') => {
    const { rows, columns, data } = readTextMatrix(bytesOf(text), 'w.csv', header).matrix
    return [rows, columns, ...data]
  }

  test.each([
    '0,1,2,3\n.5,.1,.2,.3\n',
    '1,2,3,4\n.5,.1,.2,.3\n',
    '"0","1"\n.5,.1\n',
    '0.0,1.0\n.5,.1\n',
    '"2019","2020"\n1,2\n',
    '0 1 2\n5 6 7\n',
  ])('a first row that may be names is warned about: %j', (text) => {
    expect(warningsOf(text)).toEqual([
      expect.stringMatching(
        /^w\.csv: line 1 \(.*\) is read as numbers; if it holds column names, say --header yes/,
      ),
    ])
    expect(warningsOf(text, 'no')).toEqual([])
    expect(warningsOf(text, 'yes')).toEqual([])
    const [rows, columns] = of(text, 'no')
    expect(of(text, 'yes').slice(0, 2)).toEqual([rows - 1, columns])
  })

  test.each(['1,2\n', '1,2\n3,4\n', '3,1\n4,5\n', 'a,b\n1,2\n', '0\n1\n', '"1","3"\n"3","4"\n'])(
    'no word about %j',
    (text) => {
      expect(warningsOf(text)).toEqual([])
    },
  )

  test('decides', async () => {
    expect(of('1,-,3\n4,5,6\n', 'yes')).toEqual([1, 3, 4, 5, 6])
    expect(of(',1,2\n0,3,4\n', 'yes')).toEqual([1, 2, 3, 4])
    expect(of(',1,2\n0,3,4\n', 'no')).toEqual([2, 3, nan, 1, 2, 0, 3, 4])
    expect((await errorOf(() => of('a,b\n1,2\n', 'no'))).message).toContain('line 1, column 1: "a"')
  })
})

describe('what programs write', () => {
  const [W] = [
    [
      [1.5, -2],
      [3, 4e-5],
    ],
  ]
  test.each<[string, string, number[][]]>([
    // pandas.DataFrame.to_csv(sep=';', decimal=',')
    ['pandas with decimal commas', ';0;1\n0;1,5;-2,0\n1;3,0;4e-05\n', W],
    ['decimal commas between tabs', '1,5\t-2,0\n3,0\t0,00004\n', W],
    ['Excel', 'sep=;\r\na;b\r\n1,5;-2\r\n3;4E-05\r\n', W],
    ['Excel with commas', '"sep=,"\r\n1.5,-2\r\n3,4E-05\r\n', W],
    ["R's write.table", '"V1" "V2"\n"1" 1.5 -2\n"2" 3 4e-05\n', W],
    ["R's write.table with names of rows", '"a" "b"\n"r 1" 1.5 -2\n"r 2" 3 4e-05\n', W],
    ["R's write.table without quotes", 'a b\nr1 1.5 -2\nr2 3 4e-05\n', W],
    ["R's write.csv2", '"";"V1";"V2"\n"1";1,5;-2\n"2";3;4e-05\n', W],
    ['old Macintosh lines', '1.5,-2\r3,4e-5\r', W],
    ['a delimiter at each end', '1.5,-2,\n3,4e-5,\n', W],
    ['the same under names', 'a,b,\n1.5,-2,\n3,4e-5,\n', W],
    ['the same under names without', 'a,b\n1.5,-2,\n3,4e-5,\n', W],
    [
      'a missing value at one end',
      '1.5,-2,\n3,4e-5,5\n',
      [
        [1.5, -2, nan],
        [3, 4e-5, 5],
      ],
    ],
    [
      'an empty column with a name',
      'a,b\n1,\n2,\n',
      [
        [1, nan],
        [2, nan],
      ],
    ],
    ['MATLAB', '[1.5, -2; 3, 4e-5]', W],
    ["MATLAB's mat2str", 'A = [1.5 -2;3 4e-05];\n', W],
    ['MATLAB on lines', '[1.5 -2\n 3 4e-5]\n', W],
    ['JSON', '[[1.5, -2], [3, 4e-5]]', W],
    ["NumPy's print", '[[ 1.5e+00 -2.0e+00]\n [ 3.0e+00  4.0e-05]]\n', W],
    ["NumPy's repr", 'array([[ 1.5e+00, -2.0e+00],\n       [ 3.0e+00,  4.0e-05]])\n', W],
    ["NumPy's repr with its type", 'np.array([[1.5, -2], [3, 4e-5]], dtype=float64)', W],
    ["NumPy's print of a wide row", '[[1.5\n  -2]\n [3\n  4e-5]]', W],
  ])('%s', (_, text, rows) => {
    expect(rowsOf(text)).toEqual(rows)
  })

  test.each([
    ['sep=|\n1|2\n', 'line 1 says "sep=|"; , ; and tabs are read'],
    ['a b\n1 1.5 -2\n2 3 4\n', 'line 2 has 3 cells, line 1 has 2'],
    ['a,b\n1,2,\n3,4,5\n', 'line 1 has 2 cells, line 2 has 3'],
    ['[[1, 2], [3]]', 'line 1 has 1 cell, line 1 has 2'],
    ['[[1 2 ... 3]\n [4 5 ... 6]]', '"..." is not a number; numbers were left out when it was printed'],
    ['[[[1, 2]]]', 'line 1 has more than rows of numbers in its brackets'],
    ['[1, 2; 3, 4] * 2', 'line 1 has more after its brackets'],
    ['[1, 2; 3, 4', 'line 1 ends without the bracket'],
    ['[{"a": 1}]', 'line 1 is JSON, but no rows of numbers; save the rows as text'],
  ])('%j is refused', async (text, says) => {
    expect(await messageOf(text)).toContain(says)
  })

  test('the line of a row in brackets', async () => {
    expect(await messageOf('\n[[1, 2],\n [3, x]]')).toContain('line 3, column 2: "x"')
    expect(await messageOf('A = [1 2\n3 x]')).toContain('line 2, column 2: "x"')
  })
})
