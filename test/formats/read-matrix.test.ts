import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readMatrix, readMatrixFrom } from '../../src/checkpoint/read-matrix.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { memorySource } from '../../src/io/source.ts'
import { assertFinite } from '../../src/linalg/matrix/finite.ts'
import { changed, TELLING_BYTES } from '../fuzz/bytes.ts'
import { errorOf, expected, fixtureBytes, fixturePath, numbers, peers } from './fixtures.ts'

async function* pieces(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at += 50) yield bytes.subarray(at, at + 50)
}

describe('every fixture', () => {
  test.each(expected.matrices)('$file holds what NumPy reads', async (stored) => {
    const fromFile = await readMatrix(fixturePath(stored.file))
    const { matrix, dtype } = fromFile
    expect([matrix.rows, matrix.columns]).toEqual(stored.shape)
    const isText = /\.(txt|csv|tsv)$/.test(stored.file)
    expect(dtype).toBe(isText ? 'f64' : stored.dtype.replace('float', 'f'))
    expect([...matrix.data]).toEqual(numbers(stored))
    const fromInput = await readMatrix('-', { stdin: pieces(fixtureBytes(stored.file)) })
    expect(fromInput.matrix).toEqual(matrix)
  })

  test.each(expected.refused)('$file is refused: $reason', async ({ file, reason }) => {
    const { code, message } = await errorOf(() => readMatrix(fixturePath(file)))
    expect([code, message]).toEqual(['bad-input', expect.stringContaining(reason)])
    expect(message.startsWith(`${fixturePath(file)}: `)).toBe(true)
  })

  test('none is left out', () => {
    const listed = [expected.matrices, expected.refused, expected.npySave, peers.pandas, peers.written].flat()
    const files = new Set(['expected.json', 'peers.json', ...listed.map(({ file }) => file)])
    expect(readdirSync(fixturePath('.')).filter((name) => !files.has(name))).toEqual([])
  })
})

describe('names', () => {
  test('the file names a matrix that has no name of its own', async () => {
    expect((await readMatrix(fixturePath('fortran.npy'))).name).toBe('fortran.npy')
    expect((await readMatrix('-', { stdin: pieces(new TextEncoder().encode('1 2')) })).name).toBe(
      'standard input',
    )
    expect((await readMatrix(fixturePath('stored.npz'))).name).toBe('W')
  })

  test('an array of an .npz by its name', async () => {
    for (const stored of expected.npz) {
      const { matrix, name } = await readMatrix(fixturePath(stored.file), { tensor: stored.tensor })
      expect(name).toBe(stored.tensor)
      expect([matrix.rows, matrix.columns, ...matrix.data]).toEqual([...stored.shape, ...numbers(stored)])
    }
    const wrong = await errorOf(() => readMatrix(fixturePath('stored.npz'), { tensor: 'w' }))
    expect(wrong.message).toContain('did you mean "W"?')
    expect((await errorOf(() => readMatrix(fixturePath('stored.npz'), { tensor: 'S' }))).message).toContain(
      '1-D',
    )
  })

  test('a tensor of a safetensors file by its name', async () => {
    const path = fixturePath('reference.safetensors')
    expect(await readMatrix(path, { tensor: 'half' })).toMatchObject({
      name: 'half',
      dtype: 'f16',
      matrix: { rows: 2, columns: 2 },
    })
    expect((await errorOf(() => readMatrix(path))).message).toContain(
      'choose one with --tensor: "wide" F64 [2, 2], "lora_A" F32 [3, 2]',
    )
  })

  test('a name for a file that holds one matrix is refused', async () => {
    for (const file of ['fortran.npy', 'pandas.csv']) {
      const { message } = await errorOf(() => readMatrix(fixturePath(file), { tensor: 'W' }))
      expect(message).toContain('leave out --tensor "W"')
    }
  })
})

describe('the format', () => {
  const from = (name: string, text: string) =>
    readMatrixFrom(memorySource(name, new TextEncoder().encode(text)))

  test('is told by the first bytes before the name', async () => {
    expect((await readMatrixFrom(memorySource('w.csv', fixtureBytes('fortran.npy')))).dtype).toBe('f64')
    expect(
      await readMatrixFrom(memorySource('w.bin', fixtureBytes('reference-attn0.safetensors'))).catch(
        (e) => e.message,
      ),
    ).toContain('"attn0" F32 [1, 1, 2, 3]')
    expect((await from('weights.bin', '1 2\n')).matrix.columns).toBe(2)
  })

  test('is told by the name where the bytes say nothing', async () => {
    expect((await errorOf(() => from('w.npy', '1 2\n'))).message).toContain('does not start as a .npy')
    expect((await errorOf(() => from('w.npz', '1 2\n'))).message).toContain('has no end record')
    expect((await errorOf(() => from('w.SAFETENSORS', '1 2\n3 4\n'))).message).toContain('announces a header')
    expect((await errorOf(() => from('w.pt', '1 2\n'))).message).toContain('PyTorch')
  })

  test('text past the limit is refused before it is read', async () => {
    const inner = memorySource('huge.csv', new TextEncoder().encode('1,2\n'.repeat(500)))
    const source = { ...inner, byteLength: 2 ** 31 }
    const { message } = await errorOf(() => readMatrixFrom(source))
    expect(message).toContain('2147483648 bytes of text; at most')
  })

  test('an empty file is an empty matrix', async () => {
    expect((await from('empty', '')).matrix).toMatchObject({ rows: 0, columns: 0 })
  })
})

describe('NaN and infinity', () => {
  test('the first is named, all are counted', async () => {
    const { NaN: nan, NEGATIVE_INFINITY: minusInfinity } = Number
    const A = { rows: 2, columns: 3, data: Float64Array.of(1, 2, 3, 4, minusInfinity, nan) }
    const error = await errorOf(() => assertFinite(A, { file: 'w.npy', tensor: 'W' }))
    expect(error).toMatchObject({ code: 'not-finite', file: 'w.npy', tensor: 'W' })
    expect(error.message).toContain(
      'w.npy: tensor "W": NaN or infinite entries: 2 of 6, the first (-Infinity) at row 2, column 2',
    )
  })

  test('finite matrices pass, empty ones too', () => {
    assertFinite({ rows: 1, columns: 2, data: Float32Array.of(3.4e38, -0) }, {})
    assertFinite({ rows: 0, columns: 3, data: new Float64Array(0) }, {})
  })
})

describe('damaged files', () => {
  const sound = [
    'f4-big.npy',
    'fortran.npy',
    'python2.npy',
    'i8-little.npy',
    'stored.npz',
    'deflated.npz',
    'reference.safetensors',
    'reference-plain.safetensors',
    'pandas-quote-all.csv',
    'savetxt.tsv',
  ]

  test.each(sound)('%s with bytes changed, cut or added is read or refused, never a crash', async (file) => {
    const bytes = fixtureBytes(file)
    const change = fc.record({
      // the headers are where a change matters
      at: fc.oneof(fc.nat(bytes.length - 1), fc.nat(Math.min(200, bytes.length - 1))),
      byte: fc.oneof(fc.nat(255), fc.constantFrom(...TELLING_BYTES)),
      kind: fc.constantFrom(
        'set' as const,
        'set' as const,
        'insert' as const,
        'delete' as const,
        'cut' as const,
      ),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        try {
          const { matrix } = await readMatrixFrom(memorySource(file, changed(bytes, changes)))
          expect(matrix.data.length).toBe(matrix.rows * matrix.columns)
        } catch (error) {
          if (!(error instanceof LoraSvdError)) throw error
          expect(error.code).toBe('bad-input')
          expect(error.message).not.toContain('\n')
        }
      }),
      { numRuns: 250 },
    )
  })

  test('bytes without any meaning are read or refused', async () => {
    const starts = fc.constantFrom<number[]>(
      [],
      [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 20, 0],
      [0x50, 0x4b, 3, 4],
      [20, 0, 0, 0, 0, 0, 0, 0, 123],
    )
    await fc.assert(
      fc.asyncProperty(starts, fc.uint8Array({ maxLength: 100 }), async (start, rest) => {
        const source = memorySource('noise', Uint8Array.from([...start, ...rest]))
        const outcome = await readMatrixFrom(source).catch((error) => error)
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(LoraSvdError)
      }),
      { numRuns: 500 },
    )
  })
})
