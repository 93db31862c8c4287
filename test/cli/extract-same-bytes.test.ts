import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  BASE,
  expectSameFiles,
  extracted,
  type NewTensor,
  TUNED_BF16,
  tunedBy,
  weight,
  writeModel,
} from './extract-support.ts'
import { temporaryFolder } from './run.ts'

const folder = temporaryFolder()

const before: Record<string, NewTensor> = { 'model.norm.weight': weight([48], 1) }
for (const i of [0, 1, 2, 10]) {
  before[`model.layers.${i}.self_attn.q_proj.weight`] = weight([48, 48], 2 + 3 * i)
  before[`model.layers.${i}.mlp.up_proj.weight`] = weight([72, 48], 3 + 3 * i)
  before[`model.layers.${i}.input_layernorm.weight`] = weight([48], 4 + 3 * i)
}
before['lm_head.weight'] = weight([30, 48], 99)
const after = Object.fromEntries(
  Object.entries(before).map(([name, tensor], i) => [name, tunedBy(tensor, 5 + (i % 4), 7 * i, 1e-4)]),
)
// equal in both, and so named in the card's counts only
after['model.layers.1.mlp.up_proj.weight'] = before['model.layers.1.mlp.up_proj.weight']

const names = Object.keys(before)
const backwards = [...names].reverse()
/** By a hash of no meaning, so that neither files nor offsets follow names. */
const shuffled = [...names].sort(
  (a, b) => ((a.length * 7 + a.charCodeAt(13)) % 11) - ((b.length * 7 + b.charCodeAt(13)) % 11),
)
const LAYOUTS = {
  plain: { base: undefined, tuned: undefined },
  backwards: { base: [names], tuned: [backwards] },
  sharded: {
    base: [backwards.slice(0, 5), backwards.slice(5)],
    tuned: [shuffled.slice(9), shuffled.slice(0, 2), shuffled.slice(2, 9)],
  },
}
for (const [name, { base, tuned }] of Object.entries(LAYOUTS)) {
  mkdirSync(join(folder, name))
  const config = { architectures: ['LlamaForCausalLM'], model_type: 'llama' }
  writeModel(join(folder, name, 'base'), before, { config, ...(base && { shards: base }) })
  writeModel(join(folder, name, 'tuned'), after, { config, ...(tuned && { shards: tuned }) })
}

const RULES = {
  energy: ['--energy=0.9', '--layout=pattern', '--carry-rest'],
  budget: ['--budget=60KiB', '--layout=pattern'],
  rank: ['--rank=6'],
}

describe.concurrent('the same bytes', () => {
  test.for(Object.entries(RULES))('%s: however the tensors are laid out', async ([rule, args]) => {
    for (const layout of Object.keys(LAYOUTS)) {
      // the card names the paths, which are the same in each folder
      const cwd = join(folder, layout)
      const { layers } = await extracted('base', 'tuned', rule, ['--engine=wasm', ...args], { cwd })
      expect(layers.map(({ name }: { name: string }) => name)).toEqual([
        'lm_head.weight',
        'model.layers.0.mlp.up_proj.weight',
        'model.layers.0.self_attn.q_proj.weight',
        'model.layers.1.self_attn.q_proj.weight',
        'model.layers.2.mlp.up_proj.weight',
        'model.layers.2.self_attn.q_proj.weight',
        'model.layers.10.mlp.up_proj.weight',
        'model.layers.10.self_attn.q_proj.weight',
      ])
      expectSameFiles(join(cwd, rule), join(folder, 'plain', rule))
    }
  })

  test('with 1, 2 and 4 threads', async () => {
    const run = (threads: number) =>
      extracted(BASE, TUNED_BF16, join(folder, `threads-${threads}`), [
        ...['--engine=wasm', `--threads=${threads}`, '--error=0.3', '--layout=pattern'],
      ])
    for (const threads of [1, 2, 4]) await run(threads)
    expectSameFiles(join(folder, 'threads-2'), join(folder, 'threads-1'))
    expectSameFiles(join(folder, 'threads-4'), join(folder, 'threads-1'))
  })
})
