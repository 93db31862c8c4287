import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Tensors } from '../../../src/lora/families/types.ts'
import { goldens } from '../goldens.ts'
import { inForm, layoutOfAll, WHOLE } from './whole.ts'

interface Whole {
  readonly family: string
  readonly tensors: number
  readonly parameters: number
  readonly sha256: string
}

const cases: readonly Whole[] = goldens('goldens/loaders').filter(({ sha256 }: Whole) => sha256 !== undefined)

/** In the form that the golden names after the family. */
function whole(name: string): Tensors {
  const [family, form] = name.split(', ')
  const tensors = WHOLE[family]()
  return form === 'diffusers names' ? inForm(layoutOfAll(tensors), 'diffusers') : tensors
}

describe('whole models by rule have the names and shapes of the real ones', () => {
  test.each(cases.map((one) => [one.family, one] as const))('%s', (family, golden) => {
    const lines = [...whole(family)].map(([name, { shape }]) => `${name}\t${shape.join(',')}`).sort()
    expect(lines.length).toBe(golden.tensors)
    expect(createHash('sha256').update(lines.join('\n')).digest('hex')).toBe(golden.sha256)
  })

  test('there are ten', () => expect(cases.length).toBe(10))
})
