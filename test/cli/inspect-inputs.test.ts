import { mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  bf16,
  f8e4m3,
  f8e5m2,
  f32,
  f64,
  factorsOf,
  fileOf,
  folderOf,
  indexOf,
  noise,
  type Tensors,
  withSpectrum,
} from './checkpoints.ts'
import { float64s, npyDict, npyFile } from './files.ts'
import { type InProcessOptions, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

/** Singular values of which each form has to tell, and whose powers are exact in every format. */
const S = [8, 4, 2, 1]
/** ‖·‖_F² is 85: 64, 80, 84 and 85 of it. */
const ENERGY_RANKS = { '0.5': 1, '0.9': 2, '0.95': 3, '0.99': 4 }
const SHAPE = [4, 16] as const
const W = withSpectrum(...SHAPE, S)
const rows = Array.from({ length: SHAPE[0] }, (_, i) => W.slice(i * SHAPE[1], (i + 1) * SHAPE[1]))
const NAME = 'model.layers.0.mlp.up_proj.weight'
const OTHER = 'model.layers.1.mlp.up_proj.weight'

const single = fileOf({ [NAME]: f32(SHAPE, W) })
const both: Tensors = { [NAME]: f32(SHAPE, W), [OTHER]: bf16(SHAPE, W) }
const shards = {
  'model-00001-of-00002.safetensors': fileOf({ [NAME]: both[NAME] }),
  'model-00002-of-00002.safetensors': fileOf({ [OTHER]: both[OTHER] }),
  'model.safetensors.index.json': indexOf({
    [NAME]: 'model-00001-of-00002.safetensors',
    [OTHER]: 'model-00002-of-00002.safetensors',
  }),
}
const under = (folder: string, files: Record<string, Uint8Array | string>) =>
  Object.fromEntries(Object.entries(files).map(([name, content]) => [`${folder}/${name}`, content]))

const npy = npyFile(npyDict('<f8', '(4, 16)'), float64s(...W))
const csv = rows.map((row) => row.join(',')).join('\n')

const folder = folderOf({
  'one.safetensors': single,
  'model/model.safetensors': single,
  'diffusion/diffusion_pytorch_model.safetensors': single,
  'lone/weights.safetensors': single,
  ...under('sharded', shards),
  'W.npy': npy,
  'W.csv': csv,
  'W.tsv': csv.replaceAll(',', '\t'),
  'several.npz': readFileSync(fileURLToPath(new URL('../fixtures/formats/several.npz', import.meta.url))),
  'f16.safetensors': fileOf({ [NAME]: f64(SHAPE, W), [OTHER]: f8e4m3(SHAPE, W) }),
  'f8e5m2.safetensors': fileOf({ w: f8e5m2(SHAPE, withSpectrum(...SHAPE, [4, 2, 1])) }),
  'f8-scaled.safetensors': fileOf({
    [NAME]: f8e4m3(SHAPE, W),
    [`${NAME}_scale_inv`]: f32([1, 1], [0.5]),
    [OTHER]: bf16(SHAPE, W),
  }),
  'views.safetensors': fileOf({
    'conv.weight': f32([4, 4, 2, 2], W),
    'conv1d.weight': f32([4, 4, 4], W),
    'experts.up_proj': f32([2, 4, 64], [...withSpectrum(4, 64, S), ...withSpectrum(4, 64, [3, 1])]),
    'embed_tokens.weight': f32([16, 4], withSpectrum(16, 4, S)),
    'norm.weight': f32([16], noise(16, 1)),
    step: f32([], [3]),
    empty: f32([0, 4], []),
    zeros: f32([3, 3], new Float64Array(9)),
  }),
})

const CACHE = join(folder, 'hf')
for (const [repository, files] of [
  ['models--org--tiny', { 'model.safetensors': 'model/model.safetensors' }],
  ['models--org--parts', Object.fromEntries(Object.keys(shards).map((name) => [name, `sharded/${name}`]))],
] as const) {
  const snapshot = join(CACHE, 'hub', repository, 'snapshots', '0123abc')
  mkdirSync(snapshot, { recursive: true })
  mkdirSync(join(CACHE, 'hub', repository, 'blobs'))
  for (const [name, at] of Object.entries(files)) symlinkSync(join(folder, at), join(snapshot, name))
}

async function inspected(args: readonly string[], options: InProcessOptions = {}) {
  const { code, stdout, stderr } = await runInProcess(['inspect', ...args, '--json'], {
    cwd: folder,
    ...options,
  })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return documentOf(stdout, 'inspect-1')
}

// biome-ignore lint/suspicious/noExplicitAny: a matrix of the document
function expectSpectrum(matrix: any, expected: readonly number[]): void {
  expect(matrix.singularValues).toHaveLength(Math.min(...matrix.shape))
  for (const [i, s] of matrix.singularValues.entries()) expect(s).toBeCloseTo(expected[i] ?? 0, 5)
  expect(matrix.frobenius).toBeCloseTo(Math.hypot(...expected), 5)
  expect(matrix.rank).toBe(expected.length)
}

describe.concurrent('a matrix of singular values 8, 4, 2, 1', () => {
  test.for<[name: string, args: string[], dtype: string, matrix: string, options?: InProcessOptions]>([
    ['a safetensors file', ['one.safetensors'], 'f32', NAME],
    ['a folder of a model', ['model'], 'f32', NAME],
    ['a folder of diffusers', ['diffusion/'], 'f32', NAME],
    ['a folder with one file of another name', ['lone'], 'f32', NAME],
    ['a shard', ['sharded/model-00002-of-00002.safetensors'], 'bf16', OTHER],
    ['an index, filtered', ['sharded/model.safetensors.index.json', '--include', '*.1.*'], 'bf16', OTHER],
    ['a folder of a cache', ['hf/hub/models--org--tiny'], 'f32', NAME],
    ['org/name', ['org/tiny'], 'f32', NAME, { env: { HF_HOME: CACHE } }],
    ['org/name by HF_HUB_CACHE', ['org/tiny'], 'f32', NAME, { env: { HF_HUB_CACHE: join(CACHE, 'hub') } }],
    ['.npy', ['W.npy'], 'f64', 'W.npy'],
    ['.csv', ['W.csv'], 'f64', 'W.csv'],
    ['.tsv', ['W.tsv'], 'f64', 'W.tsv'],
    ['.npy by standard input', ['-'], 'f64', 'standard input', { input: npy }],
    ['.csv by standard input', ['-'], 'f64', 'standard input', { input: csv }],
    ['safetensors by standard input', ['-'], 'f32', NAME, { input: single }],
  ])('%s', async ([, args, dtype, name, options]) => {
    const { matrices, subject, totals, source } = await inspected(args, options)
    expect(source).toEqual({ path: args[0] })
    expect(subject).toBe('weights')
    expect(matrices).toHaveLength(1)
    expect(matrices[0]).toMatchObject({
      name,
      dtype,
      shape: SHAPE,
      energyRanks: ENERGY_RANKS,
      complete: true,
    })
    expectSpectrum(matrices[0], S)
    expect(matrices[0].stableRank).toBeCloseTo(85 / 64, 6)
    expect(totals).toMatchObject({ matrices: 1, elements: 64 })
  })

  test.for<[name: string, args: string[], options?: InProcessOptions]>([
    ['a folder of shards', ['sharded']],
    ['their index', ['sharded/model.safetensors.index.json']],
    ['org/name in shards', ['org/parts'], { env: { HF_HOME: CACHE } }],
  ])('%s: both of its matrices', async ([, args, options]) => {
    const { matrices } = await inspected(args, options)
    expect(matrices.map((matrix: { name: string }) => matrix.name)).toEqual([NAME, OTHER])
    for (const matrix of matrices) expectSpectrum(matrix, S)
  })

  test('every dtype that is read', async () => {
    const { matrices } = await inspected(['f16.safetensors'])
    expect(matrices.map((matrix: { dtype: string }) => matrix.dtype)).toEqual(['f64', 'f8_e4m3'])
    for (const matrix of matrices) expectSpectrum(matrix, S)
    const narrow = await inspected(['f8e5m2.safetensors'])
    expect(narrow.matrices[0].dtype).toBe('f8_e5m2')
    expectSpectrum(narrow.matrices[0], [4, 2, 1])
  })

  test('convolutions, experts, embeddings; and what is no matrix is named', async () => {
    const { matrices, skipped } = await inspected(['views.safetensors'])
    const found = matrices.map((m: Record<string, unknown>) => [m.name, m.shape, m.storedShape])
    expect(found).toEqual([
      ['conv.weight', [4, 16], [4, 4, 2, 2]],
      ['conv1d.weight', [4, 16], [4, 4, 4]],
      ['experts.up_proj[0]', [4, 64], [2, 4, 64]],
      ['experts.up_proj[1]', [4, 64], [2, 4, 64]],
      ['embed_tokens.weight', [16, 4], [16, 4]],
      ['zeros', [3, 3], [3, 3]],
    ])
    const [first, second, experts0, experts1, embedding, zeros] = matrices
    for (const matrix of [first, second, experts0, embedding]) expectSpectrum(matrix, S)
    expectSpectrum(experts1, [3, 1])
    expectSpectrum(zeros, [])
    expect(zeros.verdict).toEqual({ kind: 'zero', text: 'all zero' })
    expect(skipped).toEqual([
      { name: 'norm.weight', reason: 'a vector' },
      { name: 'step', reason: 'a single number' },
      { name: 'empty', reason: 'no entries' },
    ])
  })

  test('.npz: every array', async () => {
    const { matrices } = await inspected(['several.npz'])
    expect(matrices.map((m: Record<string, unknown>) => [m.name, m.shape])).toEqual([
      ['A', [4, 3]],
      ['B', [3, 4]],
    ])
  })

  test('F8 with scales beside it is refused, and may be left out', async () => {
    const args = ['inspect', 'f8-scaled.safetensors']
    const { code, stdout, stderr } = await runInProcess(args, { cwd: folder })
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      `lora-svd: f8-scaled.safetensors: tensor "${NAME}" is stored as F8_E4M3, which means nothing without its scales in "${NAME}_scale_inv"; dequantise the checkpoint first, or leave the tensor out with --exclude "${NAME}"\n`,
    )
    const { matrices, skipped } = await inspected(['f8-scaled.safetensors', '--exclude', NAME])
    expect(matrices.map((matrix: { name: string }) => matrix.name)).toEqual([OTHER])
    expect(skipped).toEqual([{ name: `${NAME}_scale_inv`, reason: `the scales of "${NAME}"` }])
  })
})

/** Factors of a module of 16 × 16 under these names. */
function factors(nameOfA: string, nameOfB: string, singularValues: readonly number[], rank: number): Tensors {
  const { B, A } = factorsOf(16, 16, singularValues, rank)
  return { [nameOfA]: f32([rank, 16], A), [nameOfB]: f32([16, rank], B) }
}
const q = 'model.layers.0.self_attn.q_proj'
const v = 'model.layers.0.self_attn.v_proj'
const peft = (module: string, singularValues: readonly number[] = S, rank = 4) =>
  factors(
    `base_model.model.${module}.lora_A.weight`,
    `base_model.model.${module}.lora_B.weight`,
    singularValues,
    rank,
  )
const config = (fields: object) =>
  JSON.stringify({ peft_type: 'LORA', target_modules: ['q_proj', 'v_proj'], ...fields })
const adapter = (name: string, tensors: Tensors, fields: object) => ({
  [`${name}/adapter_model.safetensors`]: fileOf(tensors),
  [`${name}/adapter_config.json`]: config(fields),
})
const kohya = 'lora_unet_down_blocks_0_attn1_to_q'

const adapters = folderOf({
  ...adapter('same', { ...peft(q), ...peft(v) }, { r: 4, lora_alpha: 4 }),
  ...adapter('doubled', { ...peft(q), ...peft(v) }, { r: 4, lora_alpha: 8 }),
  ...adapter('wasted', peft(q, [3, 2, 1], 16), { r: 16, lora_alpha: 16 }),
  ...adapter('zero', peft(q, [], 4), { r: 4, lora_alpha: 4 }),
  ...adapter(
    'patterns',
    { ...peft(q, [2, 1], 2), ...peft(v) },
    {
      r: 4,
      lora_alpha: 8,
      rank_pattern: { q_proj: 2 },
    },
  ),
  ...adapter('rslora', peft(q), { r: 4, lora_alpha: 8, use_rslora: true }),
  'bare.safetensors': fileOf(peft(q)),
  'kohya.safetensors': fileOf({
    ...factors(`${kohya}.lora_down.weight`, `${kohya}.lora_up.weight`, S, 4),
    [`${kohya}.alpha`]: f32([], [2]),
  }),
  'comfyui.safetensors': fileOf(
    factors(`diffusion_model.${q}.lora_A.weight`, `diffusion_model.${q}.lora_B.weight`, S, 4),
  ),
  'pytorch_lora_weights.safetensors': fileOf(
    factors(`transformer.${q}.lora_A.weight`, `transformer.${q}.lora_B.weight`, S, 4),
  ),
  'base/model.safetensors': fileOf({
    [`${q}.weight`]: f32([16, 16], withSpectrum(16, 16, [85])),
    [`${v}.weight`]: f32([16, 16], withSpectrum(16, 16, [170])),
  }),
})
const at = { cwd: adapters }

/** The scale of each loader, of one module. */
const scales = (matrix: { adapter: { scales: { loader: string; scale?: number }[] } }) =>
  Object.fromEntries(matrix.adapter.scales.map(({ loader, scale }) => [loader, scale]))

describe.concurrent('an adapter', () => {
  test.for<[path: string, name: string, scale: number, args?: string[]]>([
    ['same', q, 1],
    ['same/adapter_model.safetensors', q, 1],
    ['doubled', q, 2],
    ['rslora', q, 4],
    ['bare.safetensors', q, 1],
    ['bare.safetensors', q, 3, ['--alpha', '12']],
    ['kohya.safetensors', 'down_blocks_0_attn1_to_q', 0.5],
    ['comfyui.safetensors', q, 1],
    ['pytorch_lora_weights.safetensors', q, 1],
  ])('%s, %s, scale %s: the spectrum of its product', async ([path, name, scale, args = []]) => {
    const { subject, matrices } = await inspected([path, ...args], at)
    expect(subject).toBe('adapter')
    expect(matrices[0]).toMatchObject({
      name,
      shape: [16, 16],
      rank: 4,
      energyRanks: ENERGY_RANKS,
      adapter: { nominalRank: 4, scale, wasted: 0 },
    })
    const values = matrices[0].singularValues.slice(0, 4)
    for (const [i, s] of values.entries()) expect(s).toBeCloseTo(scale * S[i], 5)
  })

  test('true rank 3, stored at 16: thirteen directions are wasted', async () => {
    const { matrices, recommended } = await inspected(['wasted'], at)
    expect(matrices[0]).toMatchObject({ rank: 3, adapter: { nominalRank: 16, wasted: 13 } })
    expect(matrices[0].verdict.text).toBe('rank 3 of its nominal 16: 13 directions wasted')
    expect(recommended.rank).toBe(3)
    const { stdout } = await runInProcess(['inspect', 'wasted'], at)
    expect(stdout).toMatch(/│ wasted directions +│ 13 /)
    expect(stdout).toMatch(/│ shape +│ 16 × 16 +│/)
  })

  test('of zeros changes nothing', async () => {
    const { matrices } = await inspected(['zero'], at)
    expect(matrices[0].verdict).toEqual({ kind: 'zero', text: 'all zero: the adapter changes nothing here' })
  })

  test('beside its base: the relative change', async () => {
    const { matrices, totals } = await inspected(['doubled', '--base', 'base'], at)
    const norm = 2 * Math.sqrt(85)
    expect(matrices.map((matrix: { name: string }) => matrix.name)).toEqual([q, v])
    expect(matrices[0].base.relativeChange).toBeCloseTo(norm / 85, 6)
    expect(matrices[1].base.relativeChange).toBeCloseTo(norm / 170, 6)
    expect(totals.relativeChange).toBeCloseTo((norm * Math.SQRT2) / Math.hypot(85, 170), 6)
  })

  test('alpha = r: all loaders agree, and none is warned of', async () => {
    const { matrices, warnings } = await inspected(['same'], at)
    const { ComfyUI: other, ...own } = scales(matrices[0])
    expect(new Set(Object.values(own))).toEqual(new Set([1]))
    expect(other).toBeUndefined()
    expect(warnings).toEqual([])
  })

  test('rslora and a rank_pattern: each loader’s own scale, with a warning, in the report too', async () => {
    const rslora = await inspected(['rslora'], at)
    // alpha / √r, or alpha / r where a loader doesn't know rslora, and ComfyUI reads no language models
    expect(scales(rslora.matrices[0])).toMatchObject({ PEFT: 4, vLLM: 4, 'llama.cpp': 2 })
    expect(rslora.warnings).toContain('llama.cpp scales 1 of 1 module by 2 where PEFT scales it by 4')

    const { matrices, warnings } = await inspected(['patterns'], at)
    expect(scales(matrices[0])).toMatchObject({ PEFT: 4, vLLM: 2, 'llama.cpp': 4 })
    expect(scales(matrices[1])).toMatchObject({ PEFT: 2, vLLM: 2, 'llama.cpp': 2 })
    const warning = 'vLLM scales 1 of 2 modules by 2 where PEFT scales it by 4'
    expect(warnings).toContain(warning)
    const { code, stdout, stderr } = await runInProcess(['inspect', 'patterns'], at)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`Warning: ${warning}`)
    expect(stdout).toMatch(/\nvLLM +1 +2 instead of 4\n +1 +2\n/)
  })

  test('without a config or alpha: the scale is called unknown; an --alpha of no use is told', async () => {
    const bare = await inspected(['bare.safetensors'], at)
    expect(bare.warnings[0]).toMatch(/^the scale of 1 module is UNKNOWN: .*: give alpha$/)
    const given = await inspected(['bare.safetensors', '--alpha', '12'], at)
    expect(given.warnings.join()).not.toContain('UNKNOWN')
    const { warnings } = await inspected(['same', '--alpha', '3'], at)
    expect(warnings).toEqual(['--alpha 3 is left aside: same says its own'])
    const weights = await inspected(['base', '--alpha', '3'], at)
    expect(weights.warnings).toEqual(['--alpha 3 is left aside: base is no adapter'])
  })

  test('as --base is refused', async () => {
    const { code, stderr } = await runInProcess(['inspect', 'base', '--base', 'same'], at)
    expect(code).toBe(2)
    expect(stderr).toBe('lora-svd: --base same is an adapter; name the weights that it was trained on\n')
  })
})
