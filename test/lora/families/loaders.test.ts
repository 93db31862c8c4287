import { describe, expect, test } from 'vitest'
import { incompleteBlocks } from '../../../src/lora/families/complete.ts'
import { gapsOf, moduleNames, rewritten } from '../../../src/lora/families/modules.ts'
import type { Family, Gap, Loader, Naming, Target } from '../../../src/lora/families/types.ts'
import { goldens } from '../goldens.ts'
import { weightsOf } from './hollow.ts'
import { layoutOfAll, WHOLE } from './whole.ts'

interface Taken {
  readonly taken: number
  readonly missed: readonly string[]
}
interface Golden {
  readonly family: string
  readonly naming: string
  readonly modules: number
  readonly comfyui: Taken
  readonly kohya?: Taken
  readonly diffusers: {
    readonly modulesOut?: number
    readonly outsideThePrefixSoDropped?: readonly string[]
    readonly factorsBroken?: readonly string[]
    readonly error?: string
  }
}
const cases: readonly Golden[] = goldens('goldens/loaders').filter((one: Golden) => one.comfyui !== undefined)

interface Asked {
  readonly naming: Naming
  readonly down: Target['down']
  readonly only?: RegExp
}
const [DOWN, A] = ['.lora_down.weight', '.lora_A.weight'] as const
const BLOCKS = /^(?:double_blocks|single_blocks|blocks|layers|noise_refiner|context_refiner)\./

/** What each of the goldens' namings is, of those that are written here. */
const NAMINGS: Readonly<Record<string, Asked>> = {
  'lora_unet_…lora_down + alpha': { naming: 'kohya', down: DOWN },
  'lora_unet_ + alpha, blocks only': { naming: 'kohya', down: DOWN, only: BLOCKS },
  'lora_unet_ + alpha, the ten projections of every block': {
    naming: 'kohya',
    down: DOWN,
    only: /^blocks\.\d+\.(?!.*_img$)/,
  },
  'lora_unet_ + diffusers path, alpha': { naming: 'kohya', down: DOWN },
  'lora_unet_ + single-file path, alpha': { naming: 'kohya', down: DOWN },
  'diffusion_model.…lora_down + alpha': { naming: 'comfyui', down: DOWN },
  'diffusion_model.…lora_down + alpha, blocks only': { naming: 'comfyui', down: DOWN, only: BLOCKS },
  'diffusion_model.…lora_down, all but patch_embedding, alpha in the blocks only': {
    naming: 'comfyui',
    down: DOWN,
    only: /^(?!patch_embedding$)/,
  },
  'diffusion_model. + single-file path, lora_down + alpha': { naming: 'comfyui', down: DOWN },
  'diffusion_model.…lora_A': { naming: 'comfyui', down: A },
  'diffusion_model.…lora_A, blocks only': { naming: 'comfyui', down: A, only: BLOCKS },
  "diffusion_model. + Tencent's own names, lora_A, no alpha": { naming: 'comfyui', down: A },
  'the same, blocks only': { naming: 'comfyui', down: A, only: BLOCKS },
  "diffusers' own: transformer.…lora_A": { naming: 'diffusers', down: A },
  "diffusers' own: unet.…lora_A": { naming: 'diffusers', down: A },
}

/** Those that nothing here writes: SD 1's original names for kohya, HunyuanVideo's repacked ones, alphas where they raise. */
const UNWRITTEN = (one: Golden) =>
  (one.family === 'SD 1.x' && one.naming.startsWith('lora_unet_ + single')) ||
  (one.family === 'hunyuanvideo' && /^diffusion_model\.…/.test(one.naming)) ||
  one.naming === 'the same, alpha everywhere'

/** Numbers as N, where they stand for themselves. */
const pattern = (path: string) => path.replace(/(?<=[._])\d+/g, 'N')
const patternsOf = (paths: readonly string[]) => [...new Set(paths.map(pattern))].sort()

interface Module {
  readonly path: string
  readonly gaps: readonly Gap[]
  /** What diffusers makes of it. */
  readonly inDiffusers: readonly string[]
}

function modulesOf(family: Family, { family: name }: Golden, { naming, down, only }: Asked): Module[] {
  const base = WHOLE[name]()
  const { denoiser } = layoutOfAll(base)
  const { form, rewrite = [] } = family.targets[naming]
  const [rename, toDiffusers] = [form, family.targets.diffusers.form].map((to) => family.rename(denoiser, to))
  return weightsOf(base)
    .filter((path) => only === undefined || only.test(path.replace(/\.weight$/, '')))
    .flatMap((weight) =>
      rename(weight)!.map((link) => {
        const path = rewritten(link.path.replace(/\.weight$/, ''), rewrite)
        const others = naming === 'diffusers' ? [link] : toDiffusers(weight)!
        const inDiffusers = others.map((other) => other.path.replace(/\.weight$/, ''))
        return { path, gaps: gapsOf(family, naming, path, down), inDiffusers }
      }),
    )
}

const isDone = ({ gaps }: Module, by: Loader) =>
  gaps.every(({ loader, effect }) => loader !== by || effect === 'wrong')

function expectTaken(modules: readonly Module[], loader: Loader, golden: Taken) {
  const missed = patternsOf(modules.filter((one) => !isDone(one, loader)).map(({ path }) => path))
  expect(modules.filter((one) => isDone(one, loader)).length).toBe(golden.taken)
  // the goldens list ten, and count the rest
  const [listed, more] = [golden.missed.slice(0, 10), golden.missed[10]]
  expect(missed.slice(0, 10)).toEqual(listed)
  expect(missed.length).toBe(more === undefined ? listed.length : 10 + Number(/\d+/.exec(more)![0]))
}

describe('what loaders take of whole models, as they do it', () => {
  const written = cases.filter((one) => !UNWRITTEN(one))
  test.each(written.map((one) => [one.family, one.naming, one] as const))('%s: %s', (name, said, golden) => {
    const { family } = layoutOfAll(WHOLE[name]())
    const asked = NAMINGS[said]
    const modules = modulesOf(family, golden, asked)
    // the golden of SDXL's own names counts the labels' embedding under both of diffusers' names for it
    const twice = name === 'SDXL' && asked.naming === 'diffusers' ? 2 : 0
    expect(modules.length).toBe(golden.modules - twice)

    if (!said.includes('Tencent')) {
      expectTaken(modules, 'ComfyUI', { ...golden.comfyui, taken: golden.comfyui.taken - twice })
    }
    if (golden.kohya !== undefined) expectTaken(modules, 'kohya', golden.kohya)

    const gaps = modules.flatMap((one) => one.gaps).filter(({ loader }) => loader === 'diffusers')
    const missing = incompleteBlocks(
      family,
      asked.naming,
      modules.map(({ path }) => path),
    )
    const isRefused = gaps.some(({ effect }) => effect === 'refused') || missing.length > 0
    expect(isRefused).toBe(golden.diffusers.error !== undefined)
    if (isRefused || said.includes('Tencent')) return
    const out = modules.filter((one) => isDone(one, 'diffusers')).flatMap((one) => one.inDiffusers)
    expect(out.length).toBe(golden.diffusers.modulesOut! - twice)
    const dropped = modules.filter((one) => !isDone(one, 'diffusers'))
    const listed = golden.diffusers.outsideThePrefixSoDropped!
    if (listed.length === 0 || out.length === 0) return
    expect(patternsOf(dropped.flatMap((one) => one.inDiffusers))).toEqual(listed)
  })

  test('all but those that nothing here writes', () => {
    expect(cases.length).toBe(43)
    expect(written.length).toBe(38)
  })
})

test('Tencent’s names of HunyuanVideo: what ComfyUI reads of them, and what diffusers makes of them', () => {
  const golden = cases.find(({ naming }) => naming.includes('Tencent'))!
  const base = WHOLE.hunyuanvideo()
  const layout = layoutOfAll(base)
  const { family } = layout
  const tencent = family.rename(layout.denoiser, 'original')
  const read = (weight: string) => rewritten(weight.replace(/\.weight$/, ''), family.targets.comfyui.rewrite!)
  const unread = weightsOf(base)
    .filter((weight) => `${read(weight)}.weight` !== tencent(weight)![0].path)
    .map((weight) => weight.replace(/\.weight$/, ''))
  // the golden's names of the token refiner's embedders are ComfyUI's
  expect(patternsOf(unread.filter((path) => !path.startsWith('txt_in.')))).toEqual(golden.comfyui.missed)
  const modules = modulesOf(family, golden, NAMINGS[golden.naming])
  expect(modules.flatMap((one) => one.inDiffusers).length).toBe(golden.diffusers.modulesOut)
  const broken = modules.filter(({ gaps }) => gaps.some(({ effect }) => effect === 'wrong'))
  const names = broken.flatMap((one) => one.inDiffusers).map((path) => `transformer.${path}`)
  expect(patternsOf(names)).toEqual(golden.diffusers.factorsBroken)
})

test('modules that ComfyUI and diffusers both load rightly, in the naming that most loaders take', () => {
  const counts = Object.entries(WHOLE).map(([name, model]) => {
    const base = model()
    const layout = layoutOfAll(base)
    const namer = moduleNames(layout, layout.family.portable)
    const modules = weightsOf(base).flatMap((tensor) => namer(tensor)!)
    return [name, modules.filter(({ gaps }) => gaps.every(({ loader }) => loader === 'kohya')).length]
  })
  // design/ADAPTERS.md 4.4, where HunyuanVideo's are those of the blocks alone
  expect(Object.fromEntries(counts)).toEqual({
    'flux1-dev': 504,
    'sd3-medium': 341,
    'wan2.1-t2v-1.3B': 306,
    'wan2.1-i2v-14B': 488,
    hunyuanvideo: 333,
    'qwen-image': 846,
    lumina2: 178,
    'SD 1.x': 282,
    SDXL: 794,
  })
})
