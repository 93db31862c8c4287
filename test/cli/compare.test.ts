import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type Float64Matrix, zeros } from '../../src/linalg/matrix/matrix.ts'
import { columnRange, sideBySide } from '../../src/linalg/truncation/columns.ts'
import { normal, orthonormal, plantedBases, times } from '../linalg/subspace/planted.ts'
import { fileOf, folderWith, type Weights } from './apply-support.ts'
import { compared, peftFolder, stored, writeTensors } from './compare-support.ts'
import { testErrors } from './errors.ts'
import { runInProcess, temporaryFolder } from './run.ts'

const folder = temporaryFolder('compare')
const at = (name: string) => join(folder, name)
const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

/** What a planted overlap is recovered to. */
const EXACT = 1e-10

/** Fails where the numbers of two trees differ by more, or anything else does. */
function expectNear(found: unknown, expected: unknown, name = ''): void {
  if (typeof expected === 'number') {
    expect(typeof found, name).toBe('number')
    expect(Math.abs((found as number) - expected), name).toBeLessThan(EXACT)
  } else if (typeof expected === 'object' && expected !== null) {
    expect(Object.keys(found as object), name).toEqual(Object.keys(expected))
    for (const [key, value] of Object.entries(expected))
      expectNear((found as Record<string, unknown>)[key], value, `${name}.${key}`)
  } else expect(found, name).toEqual(expected)
}

describe('three adapters of LoRA, LoHa, LoKr and kernels are as their whole matrices say', async () => {
  interface Figures {
    readonly cosine: number
    readonly columns: number
    readonly rows: number
    readonly kept: readonly [number, number]
  }
  interface Golden {
    readonly adapters: readonly Record<string, { shape: number[]; data: number[] }>[]
    readonly ranks: readonly Record<string, number>[]
    readonly norms: readonly Record<string, number>[]
    readonly pairs: readonly (Figures & {
      readonly adapters: readonly [number, number]
      readonly layers: Record<string, (Figures & { angles: object }) | null>
    })[]
  }
  const golden: Golden = JSON.parse(readFileSync(fixture('compare-goldens.json'), 'utf8'))
  const paths = golden.adapters.map((adapter, i) => {
    const tensors = Object.entries(adapter).map(([name, one]): [string, Weights] => [
      name,
      { dtype: 'F64', ...one },
    ])
    return writeTensors(at(`golden-${i}.safetensors`), Object.fromEntries(tensors))
  })
  // biome-ignore lint/suspicious/noExplicitAny: a document
  const figuresOf = ({ cosine, overlap, kept }: any) => ({ cosine, ...overlap, kept })

  test.each(golden.pairs)('$adapters, layer by layer with their angles', async (pair) => {
    const [i, j] = pair.adapters
    const { pairs, layers } = await compared([paths[i], paths[j]])
    const { layers: expected, adapters, ...whole } = pair
    expectNear(figuresOf(pairs[0]), whole)
    expect(pairs[0].layers.map(({ name }: { name: string }) => name)).toEqual(Object.keys(expected))
    for (const [k, [name, one]] of Object.entries(expected).entries()) {
      const layer = pairs[0].layers[k]
      expect(layer.ranks).toEqual([golden.ranks[i][name], golden.ranks[j][name]])
      if (one === null) {
        expect(figuresOf(layer)).toEqual({ cosine: null, columns: null, rows: null, kept: [null, null] })
        expect(layer.angles).toEqual({ columns: [], rows: [] })
      } else expectNear({ ...figuresOf(layer), angles: layer.angles }, one, name)
    }
    for (const { name, norms } of layers) {
      expectNear(
        norms,
        [i, j].map((adapter) => golden.norms[adapter][name] ?? null),
      )
    }
  })

  test('all three at once', async () => {
    const document = await compared([...paths, '--top', '3'])
    expect(document.totals).toEqual({ layers: 4, inAll: 3, inSome: 0, inOne: 1, pairs: 3 })
    expect(document.alone).toEqual([{ name: 'd', adapter: 0 }])
    const sizes = document.pairs.map(({ cosine }: { cosine: number }) => Math.abs(cosine))
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a))
    for (const expected of golden.pairs) {
      const [i, j] = expected.adapters
      const found = document.pairs.find(
        ({ adapters }: { adapters: number[] }) => adapters.join() === expected.adapters.join(),
      )
      const { layers, adapters, ...whole } = expected
      expectNear(figuresOf(found), whole)
      expectNear(
        {
          cosine: document.cosines[j][i],
          columns: document.overlaps.columns[i][j],
          rows: document.overlaps.rows[j][i],
          kept: [document.kept[i][j], document.kept[j][i]],
        },
        whole,
      )
    }
    for (const k of [0, 1, 2]) expect(document.cosines[k][k]).toBe(1)
  })
})

const scaled = (A: Float64Matrix, factor: number): Float64Matrix => ({
  ...A,
  data: A.data.map((x) => factor * x),
})

/** The directions of a space with these lengths, in another basis on both sides. */
function change(U: Float64Matrix, V: Float64Matrix, seed: number) {
  const mixer = normal(U.columns, V.columns, seed)
  return { U: times(U, mixer), V }
}

describe('planted overlaps', () => {
  const left = [1e-6, 12, 45, 88]
  const right = [0, 30, 60, 90]
  const columns = plantedBases(60, 4, left, 1)
  const rows = plantedBases(50, 6, right, 11)
  const V4 = columnRange(rows.P, 0, 4) as Float64Matrix

  test('the angles of column and row spaces are those that were planted', async () => {
    const one = peftFolder(at('planted-1'), { 'x.q_proj': change(columns.P, orthonormal(50, 4, 5), 21) })
    const two = peftFolder(at('planted-2'), { 'x.q_proj': change(columns.Q, orthonormal(50, 4, 6), 22) })
    expectNear((await compared([one, two])).pairs[0].layers[0].angles.columns, left)
    const three = peftFolder(at('planted-3'), { 'x.q_proj': change(orthonormal(60, 6, 7), rows.P, 23) })
    const four = peftFolder(at('planted-4'), { 'x.q_proj': change(orthonormal(60, 4, 8), rows.Q, 24) })
    expectNear((await compared([three, four])).pairs[0].layers[0].angles.rows, right)
  })

  test('one within the other: all of it is kept, and the rest of the other is not', async () => {
    const [U, V] = [orthonormal(40, 5, 31), orthonormal(30, 5, 32)]
    const part = (A: Float64Matrix) => columnRange(A, 0, 2) as Float64Matrix
    const whole = peftFolder(at('whole'), { 'x.q_proj': { U, V } })
    const inside = peftFolder(at('inside'), { 'x.q_proj': { U: part(U), V: part(V) } })
    const [pair] = (await compared([whole, inside])).pairs
    expectNear(pair.kept, [2 / 5, 1])
    expectNear(pair.cosine, 2 / Math.sqrt(10))
    expectNear(pair.overlap, { columns: 1, rows: 1 })
    expectNear(pair.chance, { columns: 5 / 40, rows: 5 / 30 })
  })

  test('zero padding and directions that depend on others change nothing', async () => {
    const [first, second] = [change(columns.P, V4, 41), change(columns.Q, orthonormal(50, 4, 9), 42)]
    const plain = peftFolder(at('plain'), { 'x.q_proj': first })
    const other = peftFolder(at('other'), { 'x.q_proj': second })
    const padded = peftFolder(
      at('padded'),
      {
        'x.q_proj': {
          U: sideBySide(60, [scaled(first.U, 0.25), zeros(60, 3), scaled(first.U, 0.75)]),
          V: sideBySide(50, [first.V, normal(50, 3, 43), first.V]),
        },
      },
      { lora_alpha: 11 },
    )
    const [expected, found] = [await compared([plain, other]), await compared([padded, other])]
    expect(found.adapters[0].ranks).toEqual({ atLeast: 4, atMost: 4 })
    expectNear(found.pairs, expected.pairs)
  })

  test('scales don’t matter, nor does the order, and an adapter with itself is 1 and 0°', async () => {
    const [first, second] = [change(columns.P, V4, 51), change(columns.Q, orthonormal(50, 4, 9), 52)]
    const one = peftFolder(at('one'), { 'x.q_proj': first, 'y.q_proj': second })
    const two = peftFolder(at('two'), { 'x.q_proj': second, 'y.q_proj': second })
    const large = peftFolder(at('large'), { 'x.q_proj': first, 'y.q_proj': second }, { lora_alpha: 4e30 })
    const there = await compared([one, two])
    const back = await compared([two, one])
    const [pair, swapped] = [there.pairs[0], back.pairs[0]]
    expectNear((await compared([large, two])).pairs[0], pair)
    expectNear(swapped.cosine, pair.cosine)
    expectNear(swapped.kept, [...pair.kept].reverse())
    expectNear(swapped.layers[0].angles, pair.layers[0].angles)
    expectNear(there.cosines, back.cosines)

    const itself = (await compared([one, one])).pairs[0]
    expectNear(itself.cosine, 1)
    expectNear(itself.kept, [1, 1])
    expectNear(itself.layers[0].angles, { columns: [0, 0, 0, 0], rows: [0, 0, 0, 0] })
  })
})

describe('what the report says', () => {
  const names = ['a', 'b', 'c', 'd']
  const base = { U: orthonormal(20, 2, 61), V: orthonormal(16, 2, 62) }
  const near = { U: sideBySide(20, [base.U]), V: scaled(base.V, 3) }
  const opposite = { U: scaled(base.U, -1), V: base.V }
  const other = { U: orthonormal(20, 2, 63), V: orthonormal(16, 2, 64) }
  const paths = [base, near, opposite, other].map((one, i) =>
    peftFolder(at(names[i]), { 'x.q_proj': one, ...(i === 3 && { 'y.v_proj': one }) }),
  )

  test('groups, adapters that undo each other, and layers of one alone', async () => {
    const { groups, alone } = await compared(paths)
    expect(groups.members).toEqual([{ adapters: [0, 1], leastCosine: expect.closeTo(1, 10) }])
    expect(alone).toEqual([{ name: 'y.v_proj', adapter: 3 }])
    const { stdout, code } = await runInProcess(['compare', ...names], { cwd: folder })
    expect(code).toBe(0)
    expect(stdout).toContain('Much the same, each within a cosine of 0.5 of another: 1, 2 (cosine 1.000).')
    expect(stdout).toContain('Undo each other: 1 and 3 (-1.000), 2 and 3 (-1.000).')
    expect(stdout.replaceAll('\n', ' ')).toContain(
      '1 layer of 2 changed by all, 1 by one alone: adapter 4 in 1 layer (y.v_proj). Over all layers those count as not shared.',
    )
  })

  test('of two, each layer with its angles', async () => {
    const { stdout } = await runInProcess(['compare', 'a', 'd'], { cwd: folder, columns: 160 })
    expect(stdout).toMatch(/x\.q_proj +20 × 16 +2 · 2 .*°–.*°/)
    expect(stdout).toContain('by chance 0.100')
    expect(stdout).toContain('adapter 2 in 1 layer (y.v_proj)')
  })

  test('DoRA is compared without its magnitudes, and says so', async () => {
    const magnitude = { dtype: 'F64', shape: [20], data: new Float64Array(20).fill(1) } as const
    const dora = peftFolder(
      at('dora'),
      { 'x.q_proj': base },
      { use_dora: true },
      { 'base_model.model.x.q_proj.lora_magnitude_vector': magnitude },
    )
    const { adapters, pairs } = await compared([dora, paths[1]])
    expect(adapters.map(({ isDora }: { isDora: boolean }) => isDora)).toEqual([true, false])
    expectNear(pairs[0].cosine, 1)
    const { stdout } = await runInProcess(['compare', 'dora', 'b'], { cwd: folder })
    expect(stdout).toContain('DoRA: 1. What is compared is scale·B·A, without the magnitudes.')
  })

  test('tensors that are no factors are listed', async () => {
    const saved = { dtype: 'F64', shape: [3, 16], data: new Float64Array(48) } as const
    const head = peftFolder(
      at('head'),
      { 'x.q_proj': base },
      { modules_to_save: ['head'] },
      { 'base_model.model.head.weight': saved },
    )
    const { notCompared } = await compared([paths[0], head])
    expect(notCompared).toEqual([{ adapter: 1, name: 'base_model.model.head.weight', kind: 'whole' }])
    const { stdout } = await runInProcess(['compare', 'a', 'head'], { cwd: folder })
    expect(stdout.replaceAll('\n', ' ')).toContain(
      'Not compared, since they are no factors: 1 tensor (base_model.model.head.weight of 2).',
    )
  })

  test('an adapter that does nothing has no cosine', async () => {
    const idle = peftFolder(at('idle'), { 'x.q_proj': { U: zeros(20, 2), V: base.V } })
    const { cosines, kept, pairs } = await compared([paths[0], idle])
    expect(cosines).toEqual([
      [1, null],
      [null, null],
    ])
    expect(kept[0][1]).toBeNull()
    expect(pairs[0].layers[0].ranks).toEqual([2, 0])
    const { stdout } = await runInProcess(['compare', 'a', 'idle'], { cwd: folder })
    expect(stdout).toContain('one of the two does nothing')
  })

  test('fits a terminal of 80 columns, however many there are', async () => {
    const many = Array.from({ length: 12 }, (_, i) => names[i % 4])
    for (const args of [names.slice(0, 2), names, many]) {
      const { stdout } = await runInProcess(['compare', ...args, '--no-color'], { cwd: folder, columns: 80 })
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
    }
    const { stdout } = await runInProcess(['compare', ...many], { cwd: folder })
    expect(stdout).toContain('The 10 nearest of 66 pairs\n')
  })

  test('as many pairs as are asked for', async () => {
    expect((await compared([...paths, '--top', '2'])).pairs).toHaveLength(2)
    expect((await compared([...paths, '--top', '0'])).pairs).toEqual([])
    expect((await compared([paths[0], paths[1], '--top', '0'])).pairs).toEqual([])
  })
})

describe('what adapters may be', () => {
  test('experts, each by itself', async () => {
    const peft = fixture('peft/experts')
    const base = join(peft, 'base.safetensors')
    const { layers, pairs, cosines } = await compared([peft, peft, '--base', base])
    expect(layers.filter(({ name }: { name: string }) => /\[\d+\]$/.test(name)).length).toBeGreaterThan(2)
    expectNear(cosines, [
      [1, 1],
      [1, 1],
    ])
    for (const { cosine } of pairs[0].layers) expectNear(cosine, 1)
  })

  test('of two formats, where the base tells what their names mean', async () => {
    const [U, V] = [orthonormal(20, 2, 71), orthonormal(16, 2, 72)]
    const peft = peftFolder(at('peft'), { 'model.layers.0.self_attn.q_proj': { U, V } })
    const kohya = writeTensors(at('kohya.safetensors'), {
      'lora_unet_model_layers_0_self_attn_q_proj.lora_up.weight': stored(U),
      'lora_unet_model_layers_0_self_attn_q_proj.lora_down.weight': stored({
        rows: 2,
        columns: 16,
        data: Float64Array.from({ length: 32 }, (_, k) => V.data[(k % 16) * 2 + Math.floor(k / 16)]),
      }),
      'lora_unet_model_layers_0_self_attn_q_proj.alpha': { dtype: 'F64', shape: [], data: [1] },
    })
    const base = folderWith(at('base'), {
      'model.safetensors': fileOf({
        'model.layers.0.self_attn.q_proj.weight': {
          dtype: 'F32',
          shape: [20, 16],
          data: new Float64Array(320),
        },
      }),
    })
    const { cosines, adapters } = await compared([peft, kohya, '--base', base])
    expectNear(cosines[0][1], 1)
    expect(adapters.map(({ format }: { format: string }) => format)).toEqual(['peft', 'kohya'])
  })
})

test('threads change no byte', async () => {
  const modules = (seed: number) =>
    Object.fromEntries(
      ['x.q_proj', 'x.k_proj', 'x.v_proj'].map((name, i) => [
        name,
        { U: normal(512, 16, seed + i), V: normal(512, 16, seed + 50 + i) },
      ]),
    )
  const paths = Array.from({ length: 10 }, (_, i) => peftFolder(at(`many-${i}`), modules(100 * i)))
  const on = async (threads: string) => {
    const { stdout, code } = await runInProcess([
      ...['compare', ...paths, '--json', '--engine', 'wasm', '--threads', threads],
    ])
    expect(code).toBe(0)
    return stdout.replace(/"seconds":[\d.e-]+/, '')
  }
  expect(await on('4')).toBe(await on('1'))
})

const small = { U: normal(8, 2, 1), V: normal(6, 2, 2) }
peftFolder(at('small'), { 'x.q_proj': small })
peftFolder(at('wide'), { 'x.q_proj': { U: normal(8, 2, 1), V: normal(7, 2, 2) } })
peftFolder(at('nan'), { 'x.q_proj': { U: scaled(small.U, Number.NaN), V: small.V } })
writeTensors(at('kohya-small.safetensors'), {
  'lora_unet_x.lora_up.weight': stored(normal(8, 2, 3)),
  'lora_unet_x.lora_down.weight': stored(normal(2, 6, 4)),
  'lora_unet_x.alpha': { dtype: 'F32', shape: [], data: [2] },
})
writeTensors(at('weights.safetensors'), { 'x.weight': stored(normal(3, 3, 1)) })

testErrors('refusals of compare', folder, [
  { args: ['compare', 'small'], says: 'compare takes two adapters or more, got only small: name another' },
  {
    args: ['compare', 'small', ''],
    says: '<adapter> is empty: name a folder or a file',
  },
  {
    args: ['compare', 'small', '-'],
    says: "<adapter>: standard input and output can't be read back; name a folder or a file",
  },
  {
    args: ['compare', 'small', 'weights.safetensors'],
    says: 'weights.safetensors: is no adapter: none of its tensors is a LoRA factor',
    kind: 'bad-input',
    file: 'weights.safetensors',
  },
  {
    args: ['compare', 'small', 'kohya-small.safetensors'],
    says: 'kohya-small.safetensors: has names of kohya, small of PEFT; give --base, which tells what both mean',
    kind: 'bad-input',
    file: 'kohya-small.safetensors',
  },
  {
    args: ['compare', 'small', 'wide'],
    says: 'wide: the module "x.q_proj" is of a weight [8, 7], in small of one [8, 6]: the two are of other bases',
    kind: 'bad-input',
    file: 'wide',
    tensor: 'base_model.model.x.q_proj.lora_A.weight',
  },
  {
    args: ['compare', 'small', 'nan'],
    says: 'nan: tensor "base_model.model.x.q_proj.lora_B.weight" has the entry NaN at row 1, column 1, the first of 16; mend the adapter, or train it again',
    kind: 'not-finite',
    file: 'nan',
    tensor: 'base_model.model.x.q_proj.lora_B.weight',
  },
])
