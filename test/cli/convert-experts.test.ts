import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { densesOf, refused } from '../combine/support.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { temporaryFolder } from '../temporary.ts'
import { fileOf, folderWith, jsonOf, random, type Weights } from './apply-support.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder('convert-experts')
let count = 0
const fresh = () => join(folder, `${count++}`)

const P = 'base_model.model.'
const LAYER = 'model.layers.0'
const [E, R] = [3, 2]
const EXPERTS = [...Array(E).keys()]
const SCALE = 2

interface Model {
  /** The projections of an expert that are apart: gate, up and down, and where they are. */
  readonly apart: readonly [owner: string, gate: string, up: string, down: string]
  readonly stacked: string
  readonly config: object
  readonly inner: number
  readonly width: number
}
const QWEN: Model = {
  apart: [`${LAYER}.mlp.experts`, 'gate_proj', 'up_proj', 'down_proj'],
  stacked: `${LAYER}.mlp.experts`,
  config: {
    architectures: ['Qwen3MoeForCausalLM'],
    model_type: 'qwen3_moe',
    num_experts: E,
    num_attention_heads: 1,
  },
  ...{ inner: 4, width: 6 },
}
const MIXTRAL: Model = {
  ...QWEN,
  apart: [`${LAYER}.block_sparse_moe.experts`, 'w1', 'w3', 'w2'],
  config: {
    architectures: ['MixtralForCausalLM'],
    model_type: 'mixtral',
    num_local_experts: E,
    num_attention_heads: 1,
  },
}
/** Shapes of which nothing but the version tells which dimension is the input. */
const SQUARE: Model = { ...QWEN, inner: 4, width: 8 }

const ATTENTION = `${LAYER}.self_attn.q_proj`
const rolesOf = ({ inner, width }: Model) =>
  [
    [inner, width],
    [inner, width],
    [width, inner],
  ] as const

function apartBase(model: Model, more: Record<string, Weights> = {}): string {
  const [owner, ...leaves] = model.apart
  const tensors = EXPERTS.flatMap((e) =>
    rolesOf(model).map((shape, i) => [`${owner}.${e}.${leaves[i]}.weight`, random(shape, i + 1)] as const),
  )
  return base(model, { ...Object.fromEntries(tensors), ...more })
}
const stackedBase = (model: Model): string =>
  base(model, {
    [`${model.stacked}.gate_up_proj`]: random([E, 2 * model.inner, model.width], 1),
    [`${model.stacked}.down_proj`]: random([E, model.width, model.inner], 2),
  })
const base = (model: Model, tensors: Record<string, Weights>) =>
  folderWith(fresh(), {
    'config.json': model.config,
    'model.safetensors': fileOf({
      ...tensors,
      [`${ATTENTION}.weight`]: random([model.width, model.width], 9),
    }),
  })

const pair = (
  stem: string,
  [out, into]: readonly [number, number],
  seed: number,
): Record<string, Weights> => ({
  [`${P}${stem}.lora_A.weight`]: random([R, into], seed),
  [`${P}${stem}.lora_B.weight`]: random([out, R], seed + 1),
})

/** An adapter of every projection of every expert, and of an attention. */
function apartAdapter(model: Model): string {
  const [owner, ...leaves] = model.apart
  const tensors = EXPERTS.flatMap((e) =>
    rolesOf(model).map((shape, i) => pair(`${owner}.${e}.${leaves[i]}`, shape, 100 + 10 * e + 2 * i)),
  )
  return folderWith(fresh(), {
    'adapter_model.safetensors': fileOf(
      Object.assign({}, ...tensors, pair(ATTENTION, [model.width, model.width], 200)),
    ),
    'adapter_config.json': {
      ...{ peft_type: 'LORA', r: R, lora_alpha: SCALE * R, target_modules: ['q_proj', ...leaves] },
    },
  })
}

/** Changes of the experts' projections by PEFT's names of single ones, each [out, in] row by row. */
async function changesOf(path: string, model: Model) {
  const [owner, ...leaves] = model.apart
  const denses = await densesOf(path)
  return EXPERTS.map((e) => leaves.map((leaf) => denses.get(`${owner}.${e}.${leaf}`)!))
}

type Layout = 'as the module says' | 'by position'

/**
 * What PEFT makes of a stack, in its own words: `o r e, e r i -> e o i` of a module whose first dimension is the output, and before that
 * `o r e, e r i -> e i o` (tuners/lora/layer.py, ParamWrapper.get_delta_weight, v0.19.1 and v0.18.1). Gives [experts][rows][columns].
 */
function stackByPeft(path: string, wrapper: string, layout: Layout): number[][][] {
  const file = readSafetensorsFile(join(path, 'adapter_model.safetensors'))
  const { lora_alpha: alpha } = jsonOf(path, 'adapter_config.json') as { lora_alpha: number }
  const [A, B] = ['A', 'B'].map((side) => file.get(`${P}${wrapper}.lora_${side}.weight`)!)
  const [[ranks, inputs], [outputs]] = [A.shape, B.shape]
  const rank = ranks / E
  const delta = (e: number, o: number, i: number) => {
    let sum = 0
    for (let r = 0; r < rank; r++)
      sum += Number(B.data![o * ranks + r * E + e]) * Number(A.data![(e * rank + r) * inputs + i])
    return (alpha / rank) * sum
  }
  const [rows, columns] = layout === 'by position' ? [inputs, outputs] : [outputs, inputs]
  return EXPERTS.map((e) =>
    Array.from({ length: rows }, (_, y) =>
      Array.from({ length: columns }, (_, x) => (layout === 'by position' ? delta(e, x, y) : delta(e, y, x))),
    ),
  )
}

const furthest = (found: ArrayLike<number>, wanted: ArrayLike<number>) => {
  expect(found.length).toBe(wanted.length)
  return Array.from(found).reduce((most, x, i) => Math.max(most, Math.abs(x - wanted[i])), 0)
}

async function converted(args: readonly string[]) {
  const { stdout, stderr, code } = await runInProcess(['convert', ...args, '--json'])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return documentOf(stdout, 'convert-1')
}
async function to(form: string, source: string, of: string) {
  const out = fresh()
  const result = await converted([source, '-o', out, '--format=peft', `--experts=${form}`, `--base=${of}`])
  expect(result).toMatchObject({ exact: true, dropped: [], holds: true })
  expect(result.warnings.join('\n')).not.toContain('loads nothing')
  return out
}

const LAYOUTS = [
  ['stacked', 'as the module says', '0.19.1'],
  ['stacked-0.18', 'by position', '0.18.1'],
] as const

describe.each([
  ['Qwen', QWEN],
  ['Mixtral, whose block has another name there', MIXTRAL],
  ['shapes that tell nothing', SQUARE],
] as const)('%s', (_, model) => {
  describe.each(LAYOUTS)('%s', (form, layout, version) => {
    test('is what PEFT makes of it, and comes back', async () => {
      const [source, of] = [apartAdapter(model), apartBase(model)]
      const wanted = await changesOf(source, model)
      const out = await to(form, source, of)
      expect(jsonOf(out, 'adapter_config.json')).toMatchObject({
        ...{ peft_version: version, target_modules: ['q_proj'], r: 2 * R, lora_alpha: 2 * R },
        target_parameters: [`${model.stacked}.down_proj`, `${model.stacked}.gate_up_proj`],
      })
      const fused = stackByPeft(out, `${model.stacked}.base_layer`, layout)
      const down = stackByPeft(out, model.stacked, layout)
      for (const e of EXPERTS) {
        expect(furthest(fused[e].flat(), [...wanted[e][0], ...wanted[e][1]]), `${e}`).toBeLessThan(1e-12)
        expect(furthest(down[e].flat(), wanted[e][2])).toBeLessThan(1e-12)
      }
      // whichever of the two forms the base has
      for (const other of [of, stackedBase(model)]) {
        const back = await to('separate', out, other)
        expect(jsonOf(back, 'adapter_config.json').target_parameters ?? null).toBeNull()
        const found = await changesOf(back, model)
        for (const e of EXPERTS) {
          for (const role of [0, 1, 2]) expect(furthest(found[e][role], wanted[e][role])).toBeLessThan(1e-12)
        }
      }
    })
  })

  test('from one layout of stacks to the other', async () => {
    const [source, of] = [apartAdapter(model), stackedBase(model)]
    const [first, second] = [await to('stacked', source, of), await to('stacked-0.18', source, of)]
    const [there, back] = [await to('stacked-0.18', first, of), await to('stacked', second, of)]
    for (const wrapper of [`${model.stacked}.base_layer`, model.stacked]) {
      const wanted = stackByPeft(first, wrapper, 'as the module says').flat(2)
      expect(furthest(stackByPeft(there, wrapper, 'by position').flat(2), wanted)).toBeLessThan(1e-12)
      expect(furthest(stackByPeft(back, wrapper, 'as the module says').flat(2), wanted)).toBeLessThan(1e-12)
    }
  })
})

test.each([
  ['mlx', ''],
  ['gguf', '.gguf'],
])('stacks, and single ones, of an adapter of %s', async (format, end) => {
  for (const model of [QWEN, MIXTRAL]) {
    const [source, of] = [apartAdapter(model), stackedBase(model)]
    const wanted = await changesOf(source, model)
    const there = `${fresh()}${end}`
    await converted([source, '-o', there, `--format=${format}`, `--base=${of}`])
    for (const [form, layout, version] of LAYOUTS) {
      const out = await to(form, there, of)
      expect(jsonOf(out, 'adapter_config.json')).toMatchObject({ peft_version: version })
      const fused = stackByPeft(out, `${model.stacked}.base_layer`, layout)
      for (const e of EXPERTS)
        expect(furthest(fused[e].flat(), [...wanted[e][0], ...wanted[e][1]])).toBeLessThan(1e-12)
    }
    const found = await changesOf(await to('separate', there, of), model)
    for (const e of EXPERTS) expect(furthest(found[e][2], wanted[e][2])).toBeLessThan(1e-12)
  }
})

test('a shared expert beside stacks: PEFT takes it for one of them, which is said', async () => {
  const shared = `${LAYER}.mlp.shared_expert.up_proj`
  const tensors = { ...pair(`${QWEN.stacked}.1.up_proj`, [4, 6], 1), ...pair(shared, [4, 6], 3) }
  const adapter = folderWith(fresh(), {
    'adapter_model.safetensors': fileOf(tensors),
    'adapter_config.json': { peft_type: 'LORA', r: R, lora_alpha: R, target_modules: ['up_proj'] },
  })
  const of = apartBase(QWEN, { [`${shared}.weight`]: random([4, 6], 7) })
  const out = fresh()
  const args = [adapter, '-o', out, '--format=peft', `--base=${of}`]
  const { warnings } = await converted([...args, '--experts=stacked'])
  expect(warnings.join('\n')).toMatch(/PEFT up to 0\.20 takes "[^"]*shared_expert\.up_proj".*peft#3711/)
  expect(jsonOf(out, 'adapter_config.json').target_modules).toEqual(['up_proj'])
  const apart = await converted([...args, '--experts=separate', '--force'])
  expect(apart.warnings.join('\n')).not.toContain('3711')
})

describe('mlx', () => {
  /** scale·lora_b·lora_a of an expert, as mlx-lm's LoRASwitchLinear.fuse has it (mlx_lm/tuner/lora.py @200af25). */
  function fused(path: string, module: string): number[][] {
    const file = readSafetensorsFile(join(path, 'adapters.safetensors'))
    const { scale } = jsonOf(path, 'adapter_config.json').lora_parameters as { scale: number }
    const [a, b] = [file.get(`${module}.lora_a`)!, file.get(`${module}.lora_b`)!]
    const [experts, out, rank] = b.shape
    const inputs = a.shape[2]
    expect(a.shape).toEqual([experts, rank, inputs])
    return Array.from({ length: experts }, (_, e) =>
      Array.from({ length: out * inputs }, (_, at) => {
        const [o, i] = [Math.floor(at / inputs), at % inputs]
        let sum = 0
        for (let r = 0; r < rank; r++)
          sum += Number(b.data![(e * out + o) * rank + r]) * Number(a.data![(e * rank + r) * inputs + i])
        return scale * sum
      }),
    )
  }
  const LEAVES = ['gate_proj', 'up_proj', 'down_proj']

  test.each([
    ['Qwen', QWEN, `${LAYER}.mlp.switch_mlp`],
    ['Mixtral', MIXTRAL, `${LAYER}.block_sparse_moe.switch_mlp`],
  ] as const)('%s: each projection of all experts, of pairs and of stacks', async (_, model, owner) => {
    const [source, of] = [apartAdapter(model), apartBase(model)]
    const wanted = await changesOf(source, model)
    const stacks = await to('stacked', source, of)
    for (const [adapter, base] of [
      [source, of],
      [stacks, of],
      [stacks, stackedBase(model)],
    ]) {
      const out = fresh()
      const result = await converted([adapter, '-o', out, '--format=mlx', `--base=${base}`])
      expect(result).toMatchObject({ exact: true, dropped: [], holds: true })
      const keys = [...LEAVES.map((leaf) => `${owner.slice(LAYER.length + 1)}.${leaf}`), 'self_attn.q_proj']
      expect(jsonOf(out, 'adapter_config.json')).toMatchObject({ lora_parameters: { keys: keys.sort() } })
      for (const [role, leaf] of LEAVES.entries()) {
        const found = fused(out, `${owner}.${leaf}`)
        for (const e of EXPERTS) expect(furthest(found[e], wanted[e][role])).toBeLessThan(1e-12)
      }
    }
  })

  test('zeros for experts without a change; without a base their number is not known', async () => {
    const adapter = folderWith(fresh(), {
      'adapter_model.safetensors': fileOf(pair(`${QWEN.stacked}.1.up_proj`, [4, 6], 1)),
      'adapter_config.json': { peft_type: 'LORA', r: R, lora_alpha: R, target_modules: ['up_proj'] },
    })
    const out = fresh()
    await converted([adapter, '-o', out, '--format=mlx', `--base=${apartBase(QWEN)}`])
    const found = fused(out, `${QWEN.stacked.replace('experts', 'switch_mlp')}.up_proj`)
    expect(found.map((own) => own.some((x) => x !== 0))).toEqual([false, true, false])
    expect(await refused(['convert', adapter, '-o', fresh(), '--format=mlx'])).toContain(
      'is of experts, of which the base tells how many there are: give it by --base',
    )
  })
})

test('what --experts can say nothing of', async () => {
  const [source, of] = [apartAdapter(QWEN), apartBase(QWEN)]
  const out = fresh()
  const refusal = (...more: string[]) => refused(['convert', source, '-o', out, ...more])
  expect(await refusal('--format=peft', '--experts=stacked')).toContain('--experts needs --base')
  expect(await refusal('--format=mlx', '--experts=stacked', `--base=${of}`)).toContain(
    '--experts is of PEFT adapters: mlx has experts in one way',
  )
  expect(await refusal('--format=peft', '--experts=fused', `--base=${of}`)).toContain('stacked-0.18')
  const dense = base(QWEN, {})
  expect(await refusal('--format=peft', '--experts=stacked', `--base=${dense}`)).toContain(
    'has no experts that are known by their names',
  )
})
