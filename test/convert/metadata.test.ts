import { describe, expect, test } from 'vitest'
import { kohyaHashes, kohyaMetadata } from '../../src/convert/metadata.ts'
import type { TensorToWrite } from '../../src/formats/safetensors-writer.ts'
import { flux } from '../lora/families/hollow.ts'
import { sdxl } from '../lora/families/hollow-unet.ts'
import { layoutOfAll } from '../lora/families/whole.ts'
import { flat, goldens, type Nested, shapeOf } from '../lora/goldens.ts'

/** As the goldens' maker made its large inputs: integers, so that nothing rounds. */
const ramp = (shape: readonly number[], seed: number) =>
  Array.from(
    { length: shape[0] * shape[1] },
    (_, i) => (((((i * 2654435761 + seed * 40503) % 2 ** 32) >>> 11) % 128) - 64) / 64,
  )

interface HashCase {
  readonly what: string
  readonly tensors: Readonly<Record<string, Nested>>
  readonly metadata: Readonly<Record<string, string>>
  readonly sshs_model_hash: string
  readonly sshs_legacy_hash: string
}
const cases: readonly (HashCase & { readonly metadata: Record<string, string> })[] = goldens('goldens/names')

describe('the hashes that sd-scripts itself computed', () => {
  const hashed = cases.filter(({ what }) => /^kohya hashes/.test(what))
  test.each(hashed.map((one) => [one.what, one] as const))('%s', async (what, golden) => {
    // of the large case the golden has shapes alone: its numbers are two ramps
    const isLarge = /ramp/.test(what)
    const seeds = [2, 3]
    const tensors = Object.entries(golden.tensors).map(([name, value], i): TensorToWrite => {
      const isAlpha = name.endsWith('.alpha')
      const shape = isAlpha ? [] : isLarge ? (value as unknown as number[]) : shapeOf(value)
      const data = isAlpha
        ? [isLarge ? 2 : (value as unknown as number)]
        : isLarge
          ? ramp(shape, seeds[i])
          : flat(value)
      return { name, dtype: 'F16', shape, data: Float64Array.from(data) }
    })
    const { sshs_model_hash, sshs_legacy_hash } = golden
    expect(await kohyaHashes(tensors, golden.metadata)).toEqual({ sshs_model_hash, sshs_legacy_hash })
  })
  test('there are two', () => expect(hashed.length).toBe(2))
})

test('the keys that sd-scripts writes of a minimum', () => {
  const golden = cases.find(({ what }) => /build_minimum_network_metadata/.test(what))!.metadata
  const found: Record<string, string> = kohyaMetadata(layoutOfAll(sdxl()), 4)
  expect(Object.keys(golden).filter((key) => !(key in found))).toEqual([])
  const { ss_v2, ss_base_model_version, ss_network_dim, ss_network_module } = golden
  expect(found).toMatchObject({ ss_v2, ss_base_model_version, ss_network_dim, ss_network_module })
  const flux1 = cases.find(({ what }) => /flux_extract/.test(what))!.metadata
  expect(kohyaMetadata(layoutOfAll(flux({ double: 1, single: 1 })), 4)).toMatchObject(flux1)
  expect(kohyaMetadata(layoutOfAll(sdxl()), undefined)).toMatchObject({ ss_network_dim: 'Dynamic' })
})
