import fc from 'fast-check'
import { unzipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { writeNpy } from '../../src/formats/npy.ts'
import { writeNpz } from '../../src/formats/npz.ts'
import { errorOf, expected, fixtureBytes, numbers, readNpy } from './fixtures.ts'

const place = { file: 'w.npy' }

describe('.npy', () => {
  test.each(expected.npySave)('$file: the bytes that numpy.save writes', (saved) => {
    const data = saved.dtype === 'f32' ? Float32Array.from(numbers(saved)) : Float64Array.from(numbers(saved))
    const array = saved.shape.length === 1 ? data : { rows: saved.shape[0], columns: saved.shape[1], data }
    expect(writeNpy(array)).toEqual(fixtureBytes(saved.file))
  })

  test('what is written reads back the same, bit for bit', async () => {
    const shape = fc.tuple(fc.nat(5), fc.nat(5), fc.boolean())
    await fc.assert(
      fc.asyncProperty(shape, fc.infiniteStream(fc.double()), async ([rows, columns, single], stream) => {
        const values = [...stream.take(rows * columns)]
        const data = single ? Float32Array.from(values) : Float64Array.from(values)
        const read = await readNpy(writeNpy({ rows, columns, data }), place)
        expect(read).toEqual({ matrix: { rows, columns, data }, dtype: single ? 'f32' : 'f64' })
      }),
    )
  })

  test('floats keep the type they have, everything else becomes float64', async () => {
    for (const { file, dtype } of expected.matrices.filter((m) => m.file.endsWith('.npy'))) {
      const { data } = (await readNpy(fixtureBytes(file), place)).matrix
      const single = dtype === 'f16' || dtype === 'f32'
      expect([file, data.constructor.name]).toEqual([file, single ? 'Float32Array' : 'Float64Array'])
    }
  })

  test('a file cut off anywhere is refused, and says how long it is', async () => {
    const whole = fixtureBytes('f8-little.npy')
    for (let length = 0; length < whole.length; length++) {
      const error = await errorOf(() => readNpy(whole.subarray(0, length), place))
      expect(error.code).toBe('bad-input')
      if (length >= 10) expect(error.message).toContain(`ends after ${length} bytes`)
    }
  })

  test('bytes after the end are refused with the counts', async () => {
    const longer = new Uint8Array([...fixtureBytes('f8-little.npy'), 0, 0, 0])
    const { message } = await errorOf(() => readNpy(longer, place))
    expect(message).toContain('3 bytes after the array')
    expect(message).toContain(`${longer.length}, expected ${longer.length - 3}`)
  })

  const withHeader = (header: string, data = new Uint8Array(48)) => {
    const text = new TextEncoder().encode(`${header}\n`)
    return new Uint8Array([
      ...fixtureBytes('f8-little.npy').subarray(0, 6),
      1,
      0,
      text.length & 255,
      text.length >> 8,
      ...text,
      ...data,
    ])
  }
  const good = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}"

  test('the header may hold what Python reads as the same dict', async () => {
    expect((await readNpy(withHeader(good), place)).matrix).toMatchObject({ rows: 2, columns: 3 })
    expect(
      (await readNpy(withHeader(` {"shape":(2L,3,),"descr":'<f8',\t'fortran_order':False,} `), place)).matrix
        .rows,
    ).toBe(2)
  })

  test.each([
    ["{'descr': '<f8', 'fortran_order': False}", 'the keys "descr, fortran_order"'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", 'the keys'],
    ["{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}", 'twice'],
    ["{'descr': '<f8', 'fortran_order': 0, 'shape': (2, 3)}", 'neither True nor False'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': 6}", 'not a tuple'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (6)}", 'not a tuple'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (2, -3)}", 'an integer'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3.0)}", 'an integer'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (2 3)}", '"," or ")"'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)} + 1", 'nothing more'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 3)}", 'below 2^53'],
    [
      "{'descr': '<f8', 'fortran_order': False, 'shape': (4503599627370496, 4503599627370496)}",
      'more entries',
    ],
    ["{'descr': 8, 'fortran_order': False, 'shape': (2, 3)}", 'descr is not a string'],
    ["{'descr': '<f8', 'fortran_order': False, 'shape': __import__('os')}", 'a string, True, False'],
    ['', '"{"'],
    // found by bench/fuzz.mjs: what would break the line or turn it round
    ['\u0085\u00ad', 'expected "{" at character 1, found "Â\\u{0085}Â\\u{00ad}\\n"'],
    ["{'\u00ad': 1, '\u00ad': 1}", '"Â\\u{00ad}" comes twice'],
  ])('refuses the header %s', async (header, reason) => {
    const { message, code } = await errorOf(() => readNpy(withHeader(header), place))
    expect([code, message]).toEqual(['bad-input', expect.stringContaining(reason)])
  })

  test('the longest header NumPy reads is read, a longer one refused', async () => {
    const padded = (length: number) => withHeader(good.padEnd(length - 1))
    expect((await readNpy(padded(10_000), place)).matrix.rows).toBe(2)
    expect((await errorOf(() => readNpy(padded(10_001), place))).message).toContain(
      '10001 bytes; at most 10000',
    )
  })

  test.each([
    ['()', 8, 'holds a single number (shape ())'],
    ['(5,)', 40, 'holds a 1-D array of shape (5,)'],
    ['(5L,)', 40, 'holds a 1-D array of shape (5,)'],
    ['(5L)', 40, 'has a header whose shape is not a tuple of integers'],
    ['(1, 2, 3, )', 48, 'holds a 3-D array of shape (1, 2, 3)'],
    [`"x'"`, 8, 'has a header whose shape is not a tuple of integers'],
  ])('the shape %s is what Python reads it as', async (shape, bytes, said) => {
    const header = `{'descr': '<f8', 'fortran_order': False, 'shape': ${shape}}`
    const { message } = await errorOf(() => readNpy(withHeader(header, new Uint8Array(bytes)), place))
    expect(message).toContain(`w.npy: the file ${said}`)
  })
})

describe('.npz', () => {
  const entries = [
    { name: 'U', array: { rows: 2, columns: 2, data: Float64Array.of(1, 2, 3, 4) } },
    { name: 'S/ü', array: Float64Array.of(5, 6) },
  ]

  test('another zip library unpacks what is written', () => {
    const unzipped = unzipSync(writeNpz(entries))
    expect(Object.keys(unzipped)).toEqual(['U.npy', 'S/ü.npy'])
    expect(unzipped['U.npy']).toEqual(writeNpy(entries[0].array))
  })

  test('the bytes are the same at any time', () => {
    expect(writeNpz(entries)).toEqual(writeNpz(entries))
  })

  test('a name twice is refused', async () => {
    expect((await errorOf(() => writeNpz([entries[0], entries[0]]))).message).toContain(
      'two arrays named "U"',
    )
  })
})
