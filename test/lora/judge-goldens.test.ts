import { describe, expect, test } from 'vitest'
import { denoiserName, rewritten } from '../../src/lora/families/modules.ts'
import type { Form, Naming, Target } from '../../src/lora/families/types.ts'
import { verdictsOf } from '../../src/lora/loaders/judge.ts'
import type { AdapterView, Loader, ModuleView } from '../../src/lora/loaders/types.ts'
import { splitPrefix } from '../../src/lora/names.ts'
import { weightsOf } from './families/hollow.ts'
import { layoutOfAll, WHOLE } from './families/whole.ts'
import { goldens } from './goldens.ts'

interface Golden {
  readonly family: string
  readonly naming: string
  readonly modules: number
  readonly comfyui: { readonly taken: number }
  readonly kohya?: { readonly taken: number }
  readonly diffusers: {
    readonly modulesOut?: number
    readonly outsideThePrefixSoDropped?: readonly string[]
    readonly factorsBroken?: readonly string[]
    readonly namesTheModelLacks?: readonly string[]
    readonly error?: string
  }
}
const cases: readonly Golden[] = goldens('goldens/loaders').filter((one: Golden) => one.comfyui !== undefined)

const BLOCKS = /^(?:double_blocks|single_blocks|blocks|layers|noise_refiner|context_refiner)\./

/** What a golden's naming is: by its words alone. */
function asked({ naming: said, family }: Golden) {
  const naming: Naming = /lora_unet_/.test(said)
    ? 'kohya'
    : /diffusers' own/.test(said)
      ? 'diffusers'
      : 'comfyui'
  const isSame = said.startsWith('the same')
  const isHunyuan = family === 'hunyuanvideo' && naming === 'comfyui'
  const isTencent = said.includes('Tencent') || (isHunyuan && isSame)
  const down: Target['down'] = said.includes('lora_A') || isTencent ? '.lora_A.weight' : '.lora_down.weight'
  const only = /, blocks only$/.test(said)
    ? BLOCKS
    : /ten projections/.test(said)
      ? /^blocks\.\d+\.(?!.*_img$)/
      : /all but patch_embedding|alpha everywhere/.test(said)
        ? /^(?!patch_embedding$)/
        : /./
  const form: Form | undefined = said.includes('single-file path') ? 'original' : undefined
  const isInBlocks = said.includes('alpha in the blocks only')
  const hasAlpha = (path: string) =>
    said.includes('alpha everywhere') ||
    (isInBlocks ? path.startsWith('blocks.') : /\+ alpha|, alpha/.test(said))
  return { naming, down, only, form, hasAlpha: isTencent ? () => false : hasAlpha, isTencent }
}

/** The adapter of a whole model, as the golden's naming has it. */
function adapterOf(golden: Golden): AdapterView {
  const base = WHOLE[golden.family]()
  const layout = layoutOfAll(base)
  const { family, denoiser } = layout
  const { naming, down, only, form, hasAlpha, isTencent } = asked(golden)
  const target = family.targets[naming]
  const isRepacked = golden.family === 'hunyuanvideo' && naming === 'comfyui' && !isTencent
  const rewrite = isRepacked ? [] : (target.rewrite ?? [])
  const rename = family.rename(denoiser, form ?? target.form)
  const modules = weightsOf(base)
    .filter((weight) => only.test(weight.replace(/\.weight$/, '')))
    .flatMap((weight) =>
      rename(weight)!.map((link): ModuleView => {
        const dotted = rewritten(link.path.replace(/\.weight$/, ''), rewrite)
        const name = denoiserName(layout.component, naming, dotted)
        const { prefix, path } = splitPrefix(name, naming)
        const [out, ...rest] = base.get(weight)!.shape
        return {
          ...{ label: name, prefix, path, down: name + down, kind: 'linear', method: 'lora' },
          ...{ productShape: [out, rest.reduce((a, b) => a * b, 1)], kernel: [], rank: 4, dim: 4, scale: 1 },
          ...(hasAlpha(dotted) && { storedAlpha: 4 }),
        }
      }),
    )
  return { format: naming, modules, whole: [], ignored: [] }
}

interface ScaleGolden {
  readonly naming: string
  readonly meant?: Readonly<Record<string, number>>
  readonly given: Readonly<Record<string, number>>
}
const scales: readonly ScaleGolden[] = goldens('goldens/diffusers').filter(
  ({ meant, naming }: ScaleGolden) => meant !== undefined && naming.startsWith('kohya, (rank, alpha)'),
)

const verdictOf = (adapter: AdapterView, loader: Loader) => verdictsOf(adapter, [loader])[0]

describe('whole models under every naming: what is said of each loader is what it does', () => {
  test.each(cases.map((one) => [one.family, one.naming, one] as const))('%s: %s', (name, _, golden) => {
    const adapter = adapterOf(golden)
    // the golden counts SDXL's embedding of labels under both of diffusers' names for it
    const twice = name === 'SDXL' && golden.modules === 796 ? 2 : 0
    expect(adapter.modules.length).toBe(golden.modules - twice)
    // of Tencent's token refiner the golden has ComfyUI's names
    if (!golden.naming.includes('Tencent')) {
      expect(verdictOf(adapter, 'ComfyUI').loaded).toBe(golden.comfyui.taken - twice)
    }
    if (golden.kohya !== undefined) {
      expect(verdictOf(adapter, 'kohya').loaded).toBe(golden.kohya.taken)
    }
    const {
      error,
      modulesOut,
      outsideThePrefixSoDropped: dropped,
      factorsBroken,
      namesTheModelLacks,
    } = golden.diffusers
    const { verdict } = verdictOf(adapter, 'diffusers')
    const isWrong = (factorsBroken?.length ?? 0) > 0
    const isPart = (dropped?.length ?? 0) > 0 || (namesTheModelLacks?.length ?? 0) > 0
    const expected =
      error !== undefined
        ? ['refuses']
        : modulesOut === 0
          ? ['loads nothing']
          : isWrong
            ? // modules that diffusers loads are wrong, and others of theirs it has no name for
              ['wrong numbers', 'loads part']
            : isPart
              ? ['loads part', 'loads nothing']
              : ['loads']
    expect(expected).toContain(verdict)
  })
})

describe('U-Nets of several ranks and alphas: what diffusers scales wrongly is said, and no more', () => {
  test.each(scales.map((one) => [one.naming.replace(/:.*/, ''), one] as const))('%s', (naming, golden) => {
    const pairs: [number, number][] = JSON.parse(
      naming
        .replace(/^[^[]*/, '')
        .replaceAll('(', '[')
        .replaceAll(')', ']'),
    )
    const modules = Object.keys(golden.meant!).map((name, i): ModuleView => {
      const [rank, alpha] = pairs[i]
      const { prefix, path } = splitPrefix(name, 'kohya')
      return {
        ...{ label: name, prefix, path, down: `${name}.lora_down.weight`, kind: 'linear', method: 'lora' },
        ...{ productShape: [64, 64], kernel: [], rank, dim: rank, scale: alpha / rank, storedAlpha: alpha },
      }
    })
    const { hits } = verdictOf({ format: 'kohya', modules, whole: [], ignored: [] }, 'diffusers')
    // the golden's two lists are of the same modules under two names, of which the last part tells them
    const leaf = (name: string) =>
      /(?:proj_in|to_q|to_k|to_out[._]0|net[._]2)$/.exec(name)![0].replace('_0', '.0')
    const given = new Map(
      Object.entries(golden.given).map(([name, scale]) => [leaf(name).replace('net_2', 'net.2'), scale]),
    )
    const wrong = modules.filter(
      ({ label, scale }) => given.get(leaf(label).replace('net_2', 'net.2')) !== scale,
    )
    expect(hits.flatMap(({ modules: some = [] }) => some)).toEqual(wrong.map(({ label }) => label))
  })
})
