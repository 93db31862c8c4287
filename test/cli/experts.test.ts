import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { combined, densesOf, openAdapter } from '../combine/support.ts'
import { temporaryFolder } from '../temporary.ts'
import { applied, distance, fileOf, folderWith, jsonOf, random, read, type Weights } from './apply-support.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
let count = 0
const fresh = () => join(folder, `${count++}`)

const OWNER = 'model.layers.0.mlp.experts'
const P = 'base_model.model.'
const [E, I, H, R] = [3, 4, 6, 2]
const SHAPES = { gate_proj: [I, H], up_proj: [I, H], down_proj: [H, I] } as const
const EXPERTS = Array.from({ length: E }, (_, e) => e)

let seed = 1
const single = (tensors: Record<string, Weights>, config: object = {}) =>
  folderWith(fresh(), {
    'adapter_model.safetensors': fileOf(tensors),
    'adapter_config.json': {
      peft_type: 'LORA',
      r: R,
      lora_alpha: 2 * R,
      target_modules: Object.keys(SHAPES),
      ...config,
    },
  })
const SINGLE = Object.fromEntries(
  EXPERTS.flatMap((e) =>
    Object.entries(SHAPES).flatMap(([name, [out, inputs]]) => [
      [`${P}${OWNER}.${e}.${name}.lora_A.weight`, random([R, inputs], seed++)] as const,
      [`${P}${OWNER}.${e}.${name}.lora_B.weight`, random([out, R], seed++)] as const,
    ]),
  ),
)
const STACKED = {
  [`${OWNER}.gate_up_proj`]: random([E, 2 * I, H], 91),
  [`${OWNER}.down_proj`]: random([E, H, I], 92),
}
const APART = Object.fromEntries(
  EXPERTS.flatMap((e) =>
    Object.entries(SHAPES).map(
      ([name, shape]) => [`${OWNER}.${e}.${name}.weight`, random(shape, 100 + seed++)] as const,
    ),
  ),
)
const model = (tensors: Record<string, Weights>) =>
  folderWith(fresh(), { 'model.safetensors': fileOf(tensors) })

describe('resize gives experts the form that the base has', () => {
  test('single ones as stacks, which PEFT finds by target_parameters, and back', async () => {
    const [adapter, stacked, apart] = [single(SINGLE), model(STACKED), model(APART)]
    const fused = fresh()
    await combined('resize', [adapter, '-o', fused, `--base=${stacked}`, '--error=1e-6'])
    expect(jsonOf(fused, 'adapter_config.json')).toMatchObject({
      target_modules: [],
      target_parameters: [`${OWNER}.down_proj`, `${OWNER}.gate_up_proj`],
    })
    expect((await openAdapter(fused)).modules.map(({ kind, experts }) => [kind, experts])).toEqual([
      ['experts', E],
      ['experts', E],
    ])
    const back = fresh()
    await combined('resize', [fused, '-o', back, `--base=${apart}`, '--error=1e-6'])
    expect(jsonOf(back, 'adapter_config.json').target_parameters).toBeNull()
    const [before, after] = [await densesOf(adapter), await densesOf(back)]
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort())
    for (const [name, dense] of before) expect(distance(after.get(name)!, dense), name).toBeLessThan(1e-5)
  })
})

test('apply does the same to a base of either form', async () => {
  const adapter = single(SINGLE)
  const denses = await densesOf(adapter)
  const [ofStacks, ofSingles] = [fresh(), fresh()]
  // which PEFT takes for nothing there, as it has no modules of single experts
  const { warnings } = await applied([model(STACKED), adapter, '-o', ofStacks])
  expect(warnings.join('\n')).toMatch(/PEFT would load nothing of it: the model has its experts stacked/)
  await applied([model(APART), adapter, '-o', ofSingles])
  const [stacks, singles] = [read(ofStacks), read(ofSingles)]
  for (const e of EXPERTS) {
    for (const name of Object.keys(SHAPES) as (keyof typeof SHAPES)[]) {
      const change = denses.get(`${OWNER}.${e}.${name}`)!
      const full = `${OWNER}.${e}.${name}.weight`
      const wanted = Array.from(APART[full].data, (x, i) => x + change[i])
      expect(distance(singles.get(full)!.data, wanted), full).toBeLessThan(1e-6)
      const stack = name === 'down_proj' ? 'down_proj' : 'gate_up_proj'
      const from = stack === 'down_proj' ? e * H * I : (2 * e + (name === 'up_proj' ? 1 : 0)) * I * H
      const part = (data: ArrayLike<number>) => Array.from(data).slice(from, from + I * H)
      const wantedPart = part(STACKED[`${OWNER}.${stack}`].data).map((x, i) => x + change[i])
      expect(distance(part(stacks.get(`${OWNER}.${stack}`)!.data), wantedPart), `${stack} ${e}`).toBeLessThan(
        1e-6,
      )
    }
  }
})

test('inspect --base shows each expert of the stacks', async () => {
  const { stdout, code } = await runInProcess(['inspect', single(SINGLE), '--base', model(STACKED), '--json'])
  expect(code).toBe(0)
  const { matrices, skipped } = documentOf(stdout, 'inspect-1')
  expect(skipped).toEqual([])
  expect(matrices.map(({ name }: { name: string }) => name).sort()).toEqual(
    EXPERTS.flatMap((e) => [`${OWNER}.down_proj[${e}]`, `${OWNER}.gate_up_proj[${e}]`]).sort(),
  )
  expect(matrices.map(({ rank }: { rank: number }) => rank).sort()).toEqual([2, 2, 2, 4, 4, 4])
})
