import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { zipSync } from 'fflate'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { withPatience } from '../../src/io/remote/network.ts'
import { hasty, loopbackHub } from '../io/loopback-hub.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { float32File, IMATRIX, MOMENTS } from '../moments-fixture.ts'
import { BASE, extracted, filesOf, TUNED } from './extract-support.ts'
import { npyDict, npyFile } from './files.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** The same moments in other files and places give the same adapter, byte for byte, and the same figures. */

const folder = temporaryFolder()
let files = 0
const fresh = (end = '') => join(folder, `${files++}${end}`)
const place = (bytes: Uint8Array, end: string) => {
  const path = fresh(end)
  writeFileSync(path, bytes)
  return path
}
const ONLY = ['--include', '*layers.1.self_attn.[qo]_proj*']
const ARGS = ['--rank', '4', ...ONLY]
const stored = new Map(
  [...readSafetensorsFile(MOMENTS)].filter(([name]) => /layers.1.self_attn.[qo]_proj/.test(name)),
)

const withoutSeconds = (layers: readonly { readonly seconds?: number }[]) =>
  layers.map(({ seconds: _, ...layer }) => layer)

async function found(moments: string, env: Record<string, string> = {}) {
  const out = fresh()
  const { layers, totals, warnings } = await extracted(BASE, TUNED, out, [...ARGS, '--moments', moments], {
    env,
  })
  const args = ['verify', out, BASE, TUNED, ...ONLY, '--moments', moments, '--json']
  const { stdout, stderr, code } = await runInProcess(args, { env })
  expect([code, stderr]).toEqual([0, ''])
  const verified = documentOf(stdout, 'verify-1')
  const figures = {
    layers: withoutSeconds(layers),
    ...{ output: totals.output, warnings },
    verified: withoutSeconds(verified.layers),
    felt: verified.output,
  }
  return { out, figures }
}

type Found = Awaited<ReturnType<typeof found>>

function expectSame(actual: Found, expected: Found): void {
  expect(actual.figures).toEqual(expected.figures)
  const [own, others] = [actual, expected].map(({ out }) => filesOf(out))
  expect([...own.keys()]).toEqual([...others.keys()])
  // the card names the files that were given
  for (const [name, bytes] of own)
    if (name !== 'README.md') expect(bytes.equals(others.get(name)!), name).toBe(true)
}

let full: Found
beforeAll(async () => {
  full = await found(MOMENTS)
  expect(full.figures.output).toMatchObject({ layers: 2, unweighed: [] })
  expect(full.figures.layers[0]).toMatchObject({ output: { moments: 'full', samples: 16640 } })
})

type Arrays = Readonly<Record<string, { readonly shape: readonly number[]; readonly bytes: ArrayBufferView }>>

const descrOf = (bytes: ArrayBufferView) =>
  bytes instanceof Float32Array ? '<f4' : bytes instanceof Float64Array ? '<f8' : '<i8'

/** As savez (level 0) and savez_compressed write it. */
const npz = (arrays: Arrays, level: 0 | 6) =>
  place(
    zipSync(
      Object.fromEntries(
        Object.entries(arrays).map(([name, { shape, bytes }]) => [
          `${name}.npy`,
          npyFile(
            npyDict(descrOf(bytes), `(${shape.map((n) => `${n},`).join(' ')})`),
            new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
          ),
        ]),
      ),
      { level },
    ),
    '.npz',
  )

const arraysOf = (Floats: typeof Float32Array | typeof Float64Array): Arrays =>
  Object.fromEntries(
    [...stored].map(([name, { shape, data }]) => [name, { shape, bytes: Floats.from(data) }]),
  )

describe('an .npz of NumPy', () => {
  test.each([
    ['float32, stored', Float32Array, 0],
    ['float32, deflated', Float32Array, 6],
    ['float64, stored', Float64Array, 0],
    ['float64, deflated', Float64Array, 6],
  ] as const)('of full moments and counts: %s', async (_, Floats, level) => {
    expectSame(await found(npz(arraysOf(Floats), level)), full)
  })

  test('of diagonals, which are vectors, and counts, which are integers', async () => {
    const entries = [...stored].filter(([name]) => name.endsWith('.second_moment'))
    const diagonals = entries.map(([name, { shape, data }]) => {
      const [k] = shape
      return {
        name: name.replace(/second_moment$/, 'second_moment_diagonal'),
        count: name.replace(/second_moment$/, 'count'),
        values: Float32Array.from({ length: k }, (_, i) => data[i * (k + 1)]),
      }
    })
    const safetensors = float32File(
      Object.fromEntries(
        diagonals.flatMap(({ name, count, values }) => [
          [name, { shape: [values.length], data: values }],
          [count, { shape: [1], data: [16640] }],
        ]),
      ),
    )
    const arrays: Arrays = Object.fromEntries(
      diagonals.flatMap(({ name, count, values }) => [
        [name, { shape: [values.length], bytes: values }],
        [count, { shape: [], bytes: BigInt64Array.of(16640n) }],
      ]),
    )
    const expected = await found(place(safetensors, '.safetensors'))
    expect(expected.figures.layers[0]).toMatchObject({ output: { moments: 'diagonal', samples: 16640 } })
    expectSame(await found(npz(arrays, 6)), expected)
  })

  test('of one weight’s experts by columns, and of integers: one line each', async () => {
    const [name] = [...stored.keys()].filter((one) => one.endsWith('.second_moment'))
    const line = async (file: string) => {
      const { code, stderr } = await runInProcess([
        ...['extract', BASE, TUNED, '-o', fresh(), ...ARGS, '--moments', file],
      ])
      expect(code).toBe(2)
      return stderr.replace(file, 'FILE')
    }
    const integers = npz({ [name]: { shape: [1, 2], bytes: BigInt64Array.of(1n, 2n) } }, 0)
    expect(await line(integers)).toBe(
      `lora-svd: FILE: tensor "${name}" is of I64 [1, 2]; moments are floats\n`,
    )
    const dict = npyDict('<f4', '(1, 2, 2)').replace('False', 'True')
    const byColumns = zipSync({ [`${name}.npy`]: npyFile(dict, 16) })
    expect(await line(place(byColumns, '.npz'))).toBe(
      `lora-svd: FILE: array "${name}" holds a 3-D array by columns (Fortran's order); save numpy.ascontiguousarray(a)\n`,
    )
  })
})

describe('on the Hub', async () => {
  const moments = readFileSync(MOMENTS)
  const hub = await loopbackHub({
    'org/alone': { commit: 'b'.repeat(40), files: { 'moments.safetensors': moments } },
    'org/moments': {
      commit: 'a'.repeat(40),
      files: {
        ...{ 'moments.safetensors': moments, 'imatrix.gguf': readFileSync(IMATRIX) },
        'moments.npz': readFileSync(npz(arraysOf(Float64Array), 6)),
      },
    },
  })
  const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: temporaryFolder() }
  const there = (name: string) => withPatience(hasty(), () => found(`hf://org/${name}`, env))

  beforeEach(() => {
    hub.sent = 0
  })

  test('only what the layers need is read', async () => {
    expectSame(await there('moments/moments.safetensors'), full)
    expect(hub.sent).toBeGreaterThan(0)
    // by extract and by verify
    expect(hub.sent).toBeLessThan(0.5 * moments.length)
  })

  test('a repository of one file, as a folder of one file here', async () => {
    expectSame(await there('alone'), full)
  })

  test('an .npz', async () => {
    expectSame(await there('moments/moments.npz'), full)
  })

  test('an importance matrix of llama.cpp', async () => {
    expectSame(await there('moments/imatrix.gguf'), await found(IMATRIX))
  })

  test('a file that is not there: one line, and nothing written', async () => {
    const out = fresh()
    const args = [
      'extract',
      BASE,
      TUNED,
      '-o',
      out,
      ...ARGS,
      '--moments',
      'hf://org/moments/none.safetensors',
    ]
    const { code, stdout, stderr } = await withPatience(hasty(), () => runInProcess(args, { env }))
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^lora-svd: hf:\/\/org\/moments[^\n]*none\.safetensors[^\n]*\n$/)
    expect(() => filesOf(out)).toThrow()
  })
})
