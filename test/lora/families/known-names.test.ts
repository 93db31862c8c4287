import { describe, expect, test } from 'vitest'
import { isOfEncoders, knownPath } from '../../../src/lora/families/known-names.ts'
import { FAMILIES } from '../../../src/lora/families/layout.ts'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import { NAMINGS } from '../../../src/lora/families/types.ts'
import { splitPrefix } from '../../../src/lora/names.ts'
import { goldens } from '../goldens.ts'
import { weightsOf } from './hollow.ts'
import { layoutOfAll, SMALL, singleFile } from './whole.ts'

interface Reach {
  readonly what: string
  readonly reach: Readonly<Record<string, readonly string[]>>
}
const reached: readonly Reach[] = goldens('goldens/names').filter(({ reach }: Reach) => reach !== undefined)
const FAMILY_OF: Readonly<Record<string, string>> = {
  ...{ SDXL: 'sdxl', Flux: 'flux', SD3: 'sd3', Wan: 'wan' },
  ...{ HunyuanVideo: 'hunyuan-video', QwenImage: 'qwen-image' },
}
const familyOf = (id: string) => [FAMILIES.find((family) => family.id === id)!]

describe('what reaches a weight in ComfyUI is known', () => {
  test.each(reached.map((one) => [one.what.replace(/^.*: /, ''), one] as const))('%s', (what, { reach }) => {
    const families = familyOf(FAMILY_OF[what])
    const ofDenoiser = Object.entries(reach).filter(([key]) => /^\[?"?diffusion_model\./.test(key))
    expect(ofDenoiser.length).toBeGreaterThan(0)
    // a part of Flux's fused rows has a name that is no module's of either form
    const names = ofDenoiser.flatMap(([key, given]) => (/bias/.test(key) ? [] : given))
    for (const name of names.filter((one) => !/linear1_qkv$/.test(one))) {
      const { path } = splitPrefix(name, name.startsWith('l') ? 'kohya' : 'diffusers')
      const bare = path.replace(/^(?:diffusion_model|base_model\.model)\./, '')
      expect([name, knownPath(bare, families)]).toEqual([name, { is: 'known' }])
    }
  })
})

describe('all modules of a model, and of its text encoders, are known in every naming', () => {
  test.each(Object.keys(SMALL))('%s', (id) => {
    const layout = layoutOfAll(singleFile(id))
    for (const naming of NAMINGS) {
      const name = moduleNames(layout, naming)
      for (const weight of weightsOf(layout.tensors)) {
        for (const module of name(weight) ?? []) {
          const { prefix, path } = splitPrefix(module.name, naming)
          const isKnown = /te\d?_|text_enc/.test(prefix)
            ? isOfEncoders(path)
            : knownPath(path, [layout.family]).is === 'known'
          expect([module.name, isKnown]).toEqual([module.name, true])
        }
      }
    }
  })
})

describe('names of none', () => {
  test.each([
    ['inptu_blocks_4_1_transformer_blocks_0_attn1_to_q', 'input_blocks.N.N.transformer_blocks.N.attn1.to_q'],
    ['down_blokcs.0.attentions.0.proj_in', 'down_blocks.N.attentions.N.proj_in'],
  ])('%s is a slip', (path, near) => {
    expect(knownPath(path, familyOf('sdxl'))).toEqual({ is: 'slip', near })
  })

  test.each([
    ['sdxl', 'up_sideways.0.attentions.0.proj_in'],
    ['flux', 'transformer_blocks.0.attn1.to_q'],
    ['wan', 'vace_blocks.0.self_attn.q'],
    ['flux', 'distilled_guidance_layer.layers.0.in_layer'],
  ])('%s: %s is not known, and no slip', (id, path) => {
    expect(knownPath(path, familyOf(id))).toEqual({ is: 'unknown' })
  })

  test('relatives of U-Nets are known', () => {
    const path = 'down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attn1.to_q'
    expect(knownPath(path, familyOf('sd1'))).toEqual({ is: 'known' })
    expect(knownPath('down_blocks.1.attentions.0.to_q', familyOf('sd1'))).toEqual({ is: 'known' })
  })
})
