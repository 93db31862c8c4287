import { describe, expect, test } from 'vitest'
import { matchToBase } from '../../src/lora/match.ts'
import { distance, mergedByReader } from './goldens.ts'
import { adapterFrom, checkpointOf, elements, type TestTensor } from './support.ts'
import { numbers } from './write-support.ts'

const OWNER = 'model.layers.0.mlp.experts'
const P = 'base_model.model.'
const [E, I, H, R] = [3, 4, 6, 2]

let seed = 1
const random = (shape: readonly number[]): TestTensor => ({
  shape,
  data: Float64Array.from(numbers(elements(shape), seed++), Math.fround),
})
const config = (more: object = {}) => ({
  peft_type: 'LORA',
  r: R,
  lora_alpha: 3 * R,
  target_modules: ['x'],
  ...more,
})
const SCALE = 3

const PROJECTIONS = { gate_proj: [I, H], up_proj: [I, H], down_proj: [H, I] } as const
type Projection = keyof typeof PROJECTIONS

/** An adapter of single experts. */
const SINGLE: Record<string, TestTensor> = Object.fromEntries(
  Array.from({ length: E }, (_, e) =>
    Object.entries(PROJECTIONS).flatMap(([name, [out, inputs]]) => [
      [`${P}${OWNER}.${e}.${name}.lora_A.weight`, random([R, inputs])],
      [`${P}${OWNER}.${e}.${name}.lora_B.weight`, random([out, R])],
    ]),
  ).flat(),
)

/** SCALE·B·A of one, [out, in] row by row. */
function single(e: number, name: Projection): number[][] {
  const { data: A } = SINGLE[`${P}${OWNER}.${e}.${name}.lora_A.weight`]
  const { data: B } = SINGLE[`${P}${OWNER}.${e}.${name}.lora_B.weight`]
  const [out, inputs] = PROJECTIONS[name]
  return Array.from({ length: out }, (_, i) =>
    Array.from({ length: inputs }, (_, j) => {
      let sum = 0
      for (let k = 0; k < R; k++) sum += B![i * R + k] * A![k * inputs + j]
      return SCALE * sum
    }),
  )
}

const turned = (rows: readonly number[][]) => rows[0].map((_, j) => rows.map((row) => row[j]))
const zipped = (a: readonly number[][], b: readonly number[][]) => a.flatMap((row, i) => [row, b[i]])

/** The changes of both stacks, as the model at run time has them. */
function stacks(isTransposed: boolean, isInterleaved: boolean, experts: readonly number[] = [0, 1, 2]) {
  const zero = (rows: number, columns: number) =>
    Array.from({ length: rows }, () => new Array(columns).fill(0))
  const all = (of: (e: number) => number[][], [rows, columns]: readonly [number, number]) =>
    Array.from({ length: E }, (_, e) => {
      const own = experts.includes(e) ? of(e) : zero(rows, columns)
      return isTransposed ? turned(own) : own
    }).flat(2)
  const fused = (e: number) => {
    const [gate, up] = [single(e, 'gate_proj'), single(e, 'up_proj')]
    return isInterleaved ? zipped(gate, up) : [...gate, ...up]
  }
  return {
    [`${OWNER}.gate_up_proj`]: all(fused, [2 * I, H]),
    [`${OWNER}.down_proj`]: all((e) => single(e, 'down_proj'), [H, I]),
  }
}

const stackedBase = (isTransposed: boolean): Record<string, TestTensor> => ({
  [`${OWNER}.gate_up_proj`]: random(isTransposed ? [E, H, 2 * I] : [E, 2 * I, H]),
  [`${OWNER}.down_proj`]: random(isTransposed ? [E, I, H] : [E, H, I]),
})

describe('an adapter of single experts on a base that stacks them', () => {
  test.each([
    ['[experts, out, in]', false, undefined],
    ['[experts, in, out]', true, undefined],
    ['with gate and up in turn, as gpt-oss has them', true, 'gpt_oss'],
  ] as const)('%s', async (_, isTransposed, type) => {
    const tensors = stackedBase(isTransposed)
    const base = await checkpointOf({ tensors, ...(type !== undefined && { config: { model_type: type } }) })
    const found = await mergedByReader(await adapterFrom({ tensors: SINGLE, adapterConfig: config() }), base)
    for (const [name, change] of Object.entries(stacks(isTransposed, type !== undefined))) {
      const wanted = change.map((x, i) => x + tensors[name].data![i])
      expect(distance(found.get(name)!, wanted), name).toBeLessThan(1e-7)
      expect(distance(found.get(name)!, tensors[name].data!)).toBeGreaterThan(0.1)
    }
  })

  test('Mixtral’s, under block_sparse_moe as stored, on the mlp of transformers 5', async () => {
    const stored: Record<string, string> = { gate_proj: 'w1', up_proj: 'w3', down_proj: 'w2' }
    const own = Object.fromEntries(
      Object.entries(SINGLE).map(([name, tensor]) => [
        name.replace('.mlp.', '.block_sparse_moe.').replace(/(?:gate|up|down)_proj/, (leaf) => stored[leaf]),
        tensor,
      ]),
    )
    const tensors = stackedBase(false)
    const adapter = await adapterFrom({ tensors: own, adapterConfig: config() })
    const found = await mergedByReader(adapter, await checkpointOf({ tensors }))
    for (const [name, change] of Object.entries(stacks(false, false))) {
      const wanted = change.map((x, i) => x + tensors[name].data![i])
      expect(distance(found.get(name)!, wanted), name).toBeLessThan(1e-7)
    }
  })

  test('experts that the adapter lacks have no change, and ranks add up', async () => {
    const own = Object.fromEntries(Object.entries(SINGLE).filter(([name]) => /experts\.1\./.test(name)))
    const tensors = stackedBase(false)
    const adapter = await adapterFrom({ tensors: own, adapterConfig: config() })
    const base = await checkpointOf({ tensors })
    expect(
      matchToBase(adapter, base).matched.map(({ module }) => [module.label, module.kind, module.rank]),
    ).toEqual([
      [`${OWNER}.down_proj`, 'experts', R],
      [`${OWNER}.gate_up_proj`, 'experts', 2 * R],
    ])
    const found = await mergedByReader(adapter, base)
    for (const [name, change] of Object.entries(stacks(false, false, [1]))) {
      expect(
        distance(
          found.get(name)!,
          change.map((x, i) => x + tensors[name].data![i]),
        ),
        name,
      ).toBeLessThan(1e-7)
    }
  })

  test.each<[string, Record<string, TestTensor>, RegExp]>([
    ['no such stack', { [`${OWNER}.other`]: random([E, 2, 2]) }, /no tensor of the base has this name/],
    [
      'a stack of other shapes',
      { [`${OWNER}.gate_up_proj`]: random([E, 10, H]), [`${OWNER}.down_proj`]: random([E, H, 5]) },
      /none of a part of/,
    ],
    [
      'a stack of fewer experts',
      { [`${OWNER}.gate_up_proj`]: random([1, 2 * I, H]), [`${OWNER}.down_proj`]: random([1, H, I]) },
      /has the experts 0 to 0/,
    ],
  ])('%s is a reason, not an error', async (_, tensors, reason) => {
    const adapter = await adapterFrom({ tensors: SINGLE, adapterConfig: config() })
    const { unmatched } = matchToBase(adapter, await checkpointOf({ tensors }))
    expect(unmatched.length).toBeGreaterThan(0)
    expect(unmatched.some((one) => reason.test(one.reason))).toBe(true)
  })
})

/** PEFT's pair for a stack: lora_A [experts·r, in], lora_B [out, r·experts] with the expert as the fastest index. */
function fusedPair(out: number, inputs: number) {
  const [A, B] = [random([E * R, inputs]), random([out, R * E])]
  const product = (e: number) =>
    Array.from({ length: out }, (_, i) =>
      Array.from({ length: inputs }, (_, j) => {
        let sum = 0
        for (let k = 0; k < R; k++) sum += B.data![i * R * E + k * E + e] * A.data![(e * R + k) * inputs + j]
        return SCALE * sum
      }),
    )
  return { A, B, product }
}

const singleBase = (names: readonly [string, string, string]): Record<string, TestTensor> =>
  Object.fromEntries(
    Array.from({ length: E }, (_, e) => [
      [`${OWNER}.${e}.${names[0]}.weight`, random([I, H])],
      [`${OWNER}.${e}.${names[1]}.weight`, random([I, H])],
      [`${OWNER}.${e}.${names[2]}.weight`, random([H, I])],
    ]).flat() as [string, TestTensor][],
  )

describe('an adapter of stacked experts on a base of single ones', () => {
  // PEFT has taken a stack [experts, 2I, H] for [experts, in, out] in one generation, and for [experts, out, in] in the next
  test.each([
    ['as [out, in]', false, ['gate_proj', 'up_proj', 'down_proj']],
    ['as [in, out]', true, ['gate_proj', 'up_proj', 'down_proj']],
    ["under Mixtral's names", false, ['w1', 'w3', 'w2']],
  ] as const)('%s', async (_, isTransposed, names) => {
    const gateUp = isTransposed ? fusedPair(H, 2 * I) : fusedPair(2 * I, H)
    const down = isTransposed ? fusedPair(I, H) : fusedPair(H, I)
    const tensors = {
      [`${P}${OWNER}.base_layer.lora_A.weight`]: gateUp.A,
      [`${P}${OWNER}.base_layer.lora_B.weight`]: gateUp.B,
      [`${P}${OWNER}.lora_A.weight`]: down.A,
      [`${P}${OWNER}.lora_B.weight`]: down.B,
    }
    const adapterConfig = config({ target_parameters: ['mlp.experts.gate_up_proj', 'mlp.experts.down_proj'] })
    const weights = singleBase(names)
    const adapter = await adapterFrom({ tensors, adapterConfig })
    // the one registered first lies innermost
    expect(adapter.modules.map(({ tensor }) => tensor).sort()).toEqual([
      `${OWNER}.down_proj`,
      `${OWNER}.gate_up_proj`,
    ])
    const found = await mergedByReader(adapter, await checkpointOf({ tensors: weights }))
    for (let e = 0; e < E; e++) {
      const fused = isTransposed ? turned(gateUp.product(e)) : gateUp.product(e)
      const whole = isTransposed ? turned(down.product(e)) : down.product(e)
      for (const [name, rows] of [
        [names[0], fused.slice(0, I)],
        [names[1], fused.slice(I)],
        [names[2], whole],
      ] as const) {
        const full = `${OWNER}.${e}.${name}.weight`
        const wanted = rows.flat().map((x, i) => x + weights[full].data![i])
        expect(distance(found.get(full)!, wanted), full).toBeLessThan(1e-7)
      }
    }
  })

  test('of a square shape it can’t be told which way it lies', async () => {
    const n = 4
    const weights = Object.fromEntries([0, 1].map((e) => [`${OWNER}.${e}.down_proj.weight`, random([n, n])]))
    const adapter = await adapterFrom({
      tensors: {
        [`${P}${OWNER}.lora_A.weight`]: random([2 * R, n]),
        [`${P}${OWNER}.lora_B.weight`]: random([n, 2 * R]),
      },
      adapterConfig: config({ target_parameters: ['mlp.experts.down_proj'] }),
    })
    const { matched, unmatched } = matchToBase(adapter, await checkpointOf({ tensors: weights }))
    expect(matched).toEqual([])
    expect(unmatched.map(({ reason }) => reason)).toEqual([expect.stringContaining('two ways')])
  })
})
