import { expect, test } from 'vitest'
import { familyOfNames } from '../../../src/lora/families/of-names.ts'
import { NAMINGS, type Naming } from '../../../src/lora/families/types.ts'
import { splitPrefix } from '../../../src/lora/names.ts'

const familyOf = (naming: Naming, names: readonly string[]) =>
  familyOfNames(
    naming,
    names.map((name) => ({ ...splitPrefix(name, naming), productShape: [32, 32] as const })),
  ).family?.id

const FIRST = {
  diffusers: 'unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q',
  kohya: 'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q',
  comfyui: 'diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q',
}
const SECOND_ENCODER = {
  diffusers: 'text_encoder_2.text_model.encoder.layers.0.mlp.fc1',
  kohya: 'lora_te2_text_model_encoder_layers_0_mlp_fc1',
  comfyui: 'text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1',
}

// configs of stable-diffusion-v1-5 and stable-diffusion-xl-base-1.0: transformer_layers_per_block is 1, and 1, 2, 10
test.each(NAMINGS)('%s: a second block of a transformer is SDXL’s, one alone may be SD 1’s', (naming) => {
  expect(familyOf(naming, [FIRST[naming]])).toBe('sd1')
  const second = FIRST[naming].replace(/(transformer_blocks[._])0/, '$11')
  expect(familyOf(naming, [FIRST[naming], second])).toBe('sdxl')
})

test.each(NAMINGS)('%s: a second text encoder beside a U-Net is SDXL’s', (naming) => {
  expect(familyOf(naming, [FIRST[naming], SECOND_ENCODER[naming]])).toBe('sdxl')
  expect(familyOf(naming, [SECOND_ENCODER[naming]])).toBeUndefined()
})

test('the embedding of sizes is SDXL’s', () => {
  expect(familyOf('diffusers', ['unet.conv_in', 'unet.add_embedding.linear_1'])).toBe('sdxl')
})
