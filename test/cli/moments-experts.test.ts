import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { raw, rawGguf } from '../formats/gguf-support.ts'
import { datFile, float32File } from '../moments-fixture.ts'
import { extracted, type NewTensor, norm, numbers, tunedBy, weight, writeModel } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** Stacks of experts, as transformers 5 stores them: each expert is weighed by what it alone was given. */

const folder = temporaryFolder()
let files = 0
const fresh = (end = '') => join(folder, `${files++}${end}`)
const place = (bytes: Uint8Array, end = '.safetensors') => {
  const path = fresh(end)
  writeFileSync(path, bytes)
  return path
}

const EXPERTS = [0, 1, 2]
const OWNER = 'model.layers.0.mlp.experts'
const [GATE_UP, DOWN] = [`${OWNER}.gate_up_proj`, `${OWNER}.down_proj`]
/** Hidden, and what the experts have inside: of gpt-oss as many, so that no shape tells which side is the input. */
const [H, I] = [20, 18]

interface Stack {
  readonly name: string
  /** Of one expert's linear layer, whatever way it is stored. */
  readonly outputs: number
  readonly inputs: number
}

/** So many mean squares, each expert's falling from another input on. */
const meanSquares = (expert: number, inputs: number, seed: number) =>
  numbers(inputs, seed).map((x, j) => (1.5 + x) * 10 ** (-((j + 7 * expert) % inputs) / 5))

const part = ({ data }: NewTensor, expert: number) =>
  Float32Array.from(data).subarray((expert * data.length) / 3, ((expert + 1) * data.length) / 3)

const turned = (data: Float32Array, rows: number, columns: number) =>
  Float32Array.from({ length: data.length }, (_, at) => data[(at % rows) * columns + Math.floor(at / rows)])

/** A model of stacks, stored [experts, out, in] or [experts, in, out], its fine-tune, and the same experts as linear layers. */
function family(architecture: string, type: string, stacks: readonly Stack[], isInOut: boolean) {
  const config = { architectures: [architecture], model_type: type, num_experts: 3, num_local_experts: 3 }
  const shapeOf = ({ outputs, inputs }: Stack) => [3, ...(isInOut ? [inputs, outputs] : [outputs, inputs])]
  const before = Object.fromEntries(stacks.map((stack, i) => [stack.name, weight(shapeOf(stack), i + 1)]))
  const after = Object.fromEntries(
    Object.entries(before).map(([name, tensor], i) => [name, tunedBy(tensor, 8, 50 + 3 * i, 0.01)]),
  )
  const moments = new Map(
    stacks.map(({ name, inputs }, i) => [name, EXPERTS.map((e) => meanSquares(e, inputs, 9 * i + e + 1))]),
  )
  const asLinear = (model: Readonly<Record<string, NewTensor>>) =>
    Object.fromEntries(
      stacks.flatMap(({ name, outputs, inputs }) =>
        EXPERTS.map((e): [string, NewTensor] => {
          const data = part(model[name], e)
          return [
            `${name}.e${e}.weight`,
            { shape: [outputs, inputs], data: isInOut ? turned(data, inputs, outputs) : data },
          ]
        }),
      ),
    )
  const written = (model: Readonly<Record<string, NewTensor>>) => writeModel(fresh(), model, { config })
  return {
    ...{ stacks, moments, linear: [asLinear(before), asLinear(after)] as const },
    ...{ base: written(before), tuned: written(after) },
    file: place(
      float32File(
        Object.fromEntries(
          stacks.map(({ name, inputs }) => [
            `${name}.second_moment_diagonal`,
            { shape: [3, inputs], data: moments.get(name)!.flatMap((own) => [...own]) },
          ]),
        ),
      ),
    ),
  }
}

const QWEN = family(
  'Qwen3MoeForCausalLM',
  'qwen3_moe',
  [
    { name: DOWN, outputs: H, inputs: I },
    { name: GATE_UP, outputs: 2 * I, inputs: H },
  ],
  false,
)
const GPT_OSS = family(
  'GptOssForCausalLM',
  'gpt_oss',
  [
    { name: DOWN, outputs: H, inputs: H },
    { name: GATE_UP, outputs: 2 * H, inputs: H },
  ],
  true,
)

interface Felt {
  readonly name: string
  readonly output?: {
    readonly relativeError: number
    readonly frobenius: number
    readonly samples?: number
    readonly singularValues: readonly number[]
  }
}

async function layersOf(args: readonly string[], schema: 'verify-1' | 'resize-1'): Promise<readonly Felt[]> {
  const { stdout, stderr, code } = await runInProcess([...args, '--json'])
  expect([code, stderr]).toEqual([0, ''])
  return documentOf(stdout, schema).layers
}

const errorsOf = (layers: readonly Felt[]) =>
  new Map(layers.map(({ name, output }) => [name, output!.relativeError]))

const RANK = ['--rank', '2', '--dtype', 'f32']

describe.each([
  ['[experts, out, in]', QWEN],
  ['[experts, in, out], one of them square', GPT_OSS],
])('%s', (_, { base, tuned, file, moments, stacks, linear }) => {
  test('each expert has the errors of a linear layer with its own moments, in all commands', async () => {
    const names = stacks.flatMap(({ name }) => EXPERTS.map((e) => [`${name}[${e}]`, `${name}.e${e}.weight`]))
    const ofLinear = place(
      float32File(
        Object.fromEntries(
          stacks.flatMap(({ name, inputs }) =>
            EXPERTS.map((e) => [
              `${name}.e${e}.weight.second_moment_diagonal`,
              { shape: [inputs], data: moments.get(name)![e] },
            ]),
          ),
        ),
      ),
    )
    const [plainBase, plainTuned] = linear.map((model) => writeModel(fresh(), model))
    const singles = await extracted(plainBase, plainTuned, fresh(), [...RANK, '--moments', ofLinear])
    const expected = errorsOf(singles.layers)

    const [out, wide] = [fresh(), fresh()]
    const weighed = ['--moments', file]
    const { layers, totals } = await extracted(base, tuned, out, [...RANK, '--experts', ...weighed])
    expect(totals.output).toMatchObject({ layers: 6, unweighed: [] })
    await extracted(base, tuned, wide, ['--rank', '20', '--dtype', 'f32', '--experts'])
    const found = [
      errorsOf(layers),
      errorsOf(await layersOf(['verify', out, base, tuned, ...weighed], 'verify-1')),
      errorsOf(await layersOf(['resize', wide, '-o', fresh(), ...RANK, ...weighed], 'resize-1')),
    ]
    for (const [expert, own] of names) {
      for (const [i, errors] of found.entries())
        expect(errors.get(expert), `${i} ${expert}`).toBeCloseTo(expected.get(own)!, i === 2 ? 5 : 6)
    }
    expect(new Set([...expected.values()].map((error) => error.toFixed(4))).size).toBe(6)

    const norms = new Map<string, number>(
      stacks.flatMap(({ name, inputs }) =>
        EXPERTS.map((e) => {
          const [W, tunedW] = linear.map((model) => model[`${name}.e${e}.weight`].data)
          const roots = moments.get(name)![e].map(Math.sqrt)
          return [
            `${name}[${e}]`,
            norm(Float64Array.from(W, (w, i) => (tunedW[i] - w) * roots[i % inputs])),
          ] as const
        }),
      ),
    )
    const inspected = await runInProcess(['inspect', tuned, '--base', base, ...weighed, '--json'])
    for (const { name, output } of documentOf(inspected.stdout, 'inspect-1').matrices as Felt[])
      expect(norm(output!.singularValues) / norms.get(name)!, name).toBeCloseTo(1, 5)
    for (const { name, output } of layers as Felt[])
      expect(output!.frobenius / norms.get(name)!, name).toBeCloseTo(1, 5)
  })
})

const { base, tuned, moments } = QWEN
const weighedBy = (file: string) => extracted(base, tuned, fresh(), [...RANK, '--experts', '--moments', file])

/** Gate and up are given the same. */
const IN_GGUF = [
  ['blk.0.ffn_gate_exps.weight', GATE_UP, H],
  ['blk.0.ffn_up_exps.weight', GATE_UP, H],
  ['blk.0.ffn_down_exps.weight', DOWN, I],
] as const

/** As llama-imatrix writes it: sums of squares, and over how many inputs. */
function imatrixOf(counts: readonly number[]): Uint8Array {
  const parts = IN_GGUF.flatMap(([name, stack, inputs]) => [
    {
      ...{ name: `${name}.in_sum2`, dims: [inputs, counts.length] },
      data: counts.flatMap((count, e) => [...moments.get(stack)![e]].map((x) => x * count)),
    },
    { name: `${name}.counts`, dims: [1, counts.length], data: counts },
  ])
  let offset = 0
  const data: Buffer[] = []
  const tensors = parts.map(({ name, dims, data: values }) => {
    const begin = offset
    const bytes = Buffer.alloc(Math.ceil((4 * values.length) / 32) * 32)
    values.forEach((x, i) => {
      bytes.writeFloatLE(x, 4 * i)
    })
    data.push(bytes)
    offset += bytes.length
    return { name, dims, offset: begin }
  })
  return rawGguf({ keys: [['general.type', ...raw.string('imatrix')]], tensors, data: Buffer.concat(data) })
}

test('importance matrices of llama.cpp have a row for each expert; one that no input reached is plain', async () => {
  const counts = [4, 0, 8]
  const gguf = imatrixOf(counts)
  const expected = errorsOf((await weighedBy(QWEN.file)).layers)
  const { layers, totals } = await weighedBy(place(gguf, '.gguf'))
  expect(totals.output).toMatchObject({ layers: 4, unweighed: [`${DOWN}[1]`, `${GATE_UP}[1]`] })
  for (const { name, output } of layers as Felt[]) {
    const expert = Number(name.at(-2))
    if (expert === 1) expect(output).toBeUndefined()
    else {
      expect(output!.relativeError, name).toBeCloseTo(expected.get(name)!, 6)
      expect(output!.samples).toBe(counts[expert])
    }
  }
  // the older form has all rows in one
  const flat = datFile(
    IN_GGUF.map(([name, stack]) => ({
      ...{ name, calls: 2 },
      values: moments.get(stack)!.flatMap((own) => [...own]),
    })),
  )
  for (const { name, output } of (await weighedBy(place(flat, '.dat'))).layers as Felt[])
    expect(output!.relativeError, name).toBeCloseTo(expected.get(name)!, 6)
})

describe('experts that lie each by itself', () => {
  const roles = { gate_proj: [I, H], up_proj: [I, H], down_proj: [H, I] } as const
  const pairs = EXPERTS.flatMap((e) =>
    Object.entries(roles).map(
      ([role, shape], i) => [`${OWNER}.${e}.${role}.weight`, shape, 10 * e + i] as const,
    ),
  )
  const config = { architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe', num_experts: 3 }
  const before = Object.fromEntries(pairs.map(([name, shape, seed]) => [name, weight(shape, seed + 1)]))
  const after = Object.fromEntries(
    Object.entries(before).map(([name, tensor], i) => [name, tunedBy(tensor, 8, 70 + 3 * i, 0.01)]),
  )
  const models = [before, after].map((model) => writeModel(fresh(), model, { config }))

  test('take their rows of an importance matrix', async () => {
    const own = place(
      float32File(
        Object.fromEntries(
          pairs.map(([name, [, inputs]]) => [
            `${name}.second_moment_diagonal`,
            {
              shape: [inputs],
              data: moments.get(inputs === H ? GATE_UP : DOWN)![
                Number(/\d+(?=\.\w+\.weight$)/.exec(name)![0])
              ],
            },
          ]),
        ),
      ),
    )
    const errors = async (file: string) =>
      errorsOf((await extracted(models[0], models[1], fresh(), [...RANK, '--moments', file])).layers)
    const expected = await errors(own)
    const found = await errors(place(imatrixOf([2, 3, 4]), '.gguf'))
    expect(found.size).toBe(9)
    for (const [name, error] of expected) expect(found.get(name), name).toBeCloseTo(error, 6)
  })

  test('of a model with fewer: one line', async () => {
    const file = place(imatrixOf([2, 3]), '.gguf')
    const args = ['extract', models[0], models[1], '-o', fresh(), ...RANK, '--moments', file]
    const { code, stderr } = await runInProcess(args)
    expect(code).toBe(2)
    expect(stderr).toMatch(
      /^lora-svd: [^\n]* is \[2, \d+\], and "[^\n]*" is one of 3 experts, each of \d+ inputs: moments of \[3, \d+\], or of \[\d+\] for all of them, are expected; are they of this model\?\n$/,
    )
  })
})

test('full moments of each, and one matrix for all', async () => {
  const identity = Float32Array.from({ length: H * H }, (_, at) => (at % (H + 1) === 0 ? 1 : 0))
  const own = moments.get(GATE_UP)!
  const diagonals = own.map((d) => identity.map((x, at) => x * d[at % H]))
  const entry = (shape: number[], all: readonly Float32Array[]) =>
    place(
      float32File({
        [`${GATE_UP}.second_moment`]: { shape, data: all.flatMap((one) => [...one]) },
      }),
    )
  const expected = errorsOf((await weighedBy(QWEN.file)).layers)
  const ofEach = await weighedBy(entry([3, H, H], diagonals))
  for (const { name, output } of (ofEach.layers as Felt[]).filter(({ name }) => name.startsWith(GATE_UP)))
    expect(output!.relativeError, name).toBeCloseTo(expected.get(name)!, 6)
  const shared = await weighedBy(entry([H, H], [diagonals[1]]))
  const [, second] = (shared.layers as Felt[]).filter(({ name }) => name.startsWith(GATE_UP))
  expect(second.output!.relativeError).toBeCloseTo(expected.get(`${GATE_UP}[1]`)!, 6)
  expect(shared.totals.output.layers).toBe(3)
})

test.each([
  ['fewer experts', [2, H]],
  ['more experts', [4, H]],
  ['columns for rows', [H, 3]],
])('%s: one line', async (_, shape) => {
  const entry = `${GATE_UP}.second_moment_diagonal`
  const file = place(float32File({ [entry]: { shape, data: new Float32Array(shape[0] * shape[1]).fill(1) } }))
  const args = ['extract', base, tuned, '-o', fresh(), ...RANK, '--experts', '--moments', file]
  const { code, stdout, stderr } = await runInProcess(args)
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toBe(
    `lora-svd: ${file}: "${entry}" is [${shape.join(', ')}], and "${GATE_UP}" is one of 3 experts, each of 20 inputs: moments of [3, 20], or of [20] for all of them, are expected; are they of this model?\n`,
  )
})

test('counts of fewer experts: one line', async () => {
  const entry = `${GATE_UP}.second_moment_diagonal`
  const file = place(
    float32File({
      [entry]: { shape: [3, H], data: new Float32Array(3 * H).fill(1) },
      [`${GATE_UP}.count`]: { shape: [2], data: [5, 6] },
    }),
  )
  const args = ['extract', base, tuned, '-o', fresh(), ...RANK, '--experts', '--moments', file]
  const { code, stderr } = await runInProcess(args)
  expect(code).toBe(2)
  expect(stderr).toBe(
    `lora-svd: ${file}: "${entry}" has 2 counts of inputs, and is the moments of 3 matrices: one count, or one for each, is expected; make the moments again\n`,
  )
})
