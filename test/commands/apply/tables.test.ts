import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { applyDocument } from '../../../src/commands/apply/document.ts'
import type { AppliedTensor, ApplyPreview, ApplyResult } from '../../../src/commands/apply/result.ts'
import { adviceText, keptText } from '../../../src/commands/apply/sentences.ts'
import { applyTables } from '../../../src/commands/apply/text.ts'
import { documentOf } from '../../cli/schema.ts'
import { rendered, widest } from '../../report/rendered.ts'
import '../../property-seed.ts'

const { painted, plain, flowing } = rendered(applyTables)

const layerOf = (index: number, gain: number): AppliedTensor => ({
  ...{
    name: `model.layers.${index}.self_attn.q_proj.weight`,
    shape: [2048, 2048],
    dtype: 'bf16',
    how: 'factors',
  },
  ...{ rank: 16, gain, roundingError: 1 - gain / 2, deltaFrobenius: 1.5, changed: 0.25 },
  expected: { gain, roundingError: 1 - gain / 2, rows: 64, of: 2048 },
})

const result = (changed: Partial<ApplyResult> = {}): ApplyResult => ({
  source: {
    base: 'base',
    adapters: [
      { path: 'style', weight: 0.7, format: 'peft' },
      { path: 'task', weight: 1, format: 'kohya' },
    ],
  },
  layers: [layerOf(0, 0.62), layerOf(1, 0.998)],
  totals: {
    changed: 2,
    converted: 0,
    copied: 5,
    expected: { gain: 0.8, roundingError: 0.2 },
    gain: 0.81,
    roundingError: 0.19,
  },
  ignored: [],
  advice: [],
  warnings: [],
  output: { path: 'merged', bytes: 2048, files: [{ name: 'model.safetensors', bytes: 2048 }], leftOut: [] },
  holds: true,
  resumed: 0,
  seconds: 1.5,
  ...changed,
})

const preview = (): ApplyPreview => {
  const { layers, totals, seconds, resumed, output, ...rest } = result()
  const { gain, roundingError, ...planned } = totals
  return {
    ...rest,
    layers: layers.map(({ gain, roundingError, deltaFrobenius, changed, ...layer }) => layer),
    totals: planned,
    output: { path: output.path, bytes: output.bytes, files: output.files },
    resumable: false,
  }
}

const anyResult = fc
  .record({
    gains: fc.array(fc.double({ min: 0, max: 1.1, noNaN: true }), { maxLength: 60 }),
    names: fc.array(fc.string({ minLength: 1 }), { maxLength: 3 }),
    isUntied: fc.boolean(),
  })
  .map(({ gains, names, isUntied }) =>
    result({
      layers: gains.map((gain, i) => layerOf(i, gain)),
      ignored: names.map((name) => ({ adapter: 'a', name, reason: 'nobody reads it' })),
      advice: names.map((name) => ({ dtype: 'bf16', gain: 0.5, names: [name] })),
      warnings: names,
      holds: names.length === 0,
      ...(isUntied && { untied: { head: 'lm_head.weight', embedding: 'wte.weight' }, vocabulary: 32001 }),
    }),
  )

test('no line is wider than the terminal, and colour changes nothing but colour', () => {
  fc.assert(
    fc.property(anyResult, fc.integer({ min: 40, max: 220 }), (one, columns) => {
      const text = painted(one, columns)
      expect(widest(text)).toBeLessThanOrEqual(columns)
      expect(stripVTControlCharacters(text)).toBe(plain(one, columns))
    }),
  )
})

describe('the report', () => {
  test('each tensor with what is kept of it, measured', () => {
    expect(plain(result())).toMatch(/^0\.self_attn\.q_proj +\[2048, 2048\] +bf16 +B·A +16 +62 % +0\.690$/m)
    expect(plain(result())).toContain(
      'lora-svd apply: base + 0.7 · style + task\n2 tensors changed · 1.5 s\n',
    )
    expect(flowing(result())).toContain('All of it is in, and lies on the disk as it was computed.')
  })

  test('of a dry run what is expected, and nothing else', () => {
    const text = plain(preview())
    expect(text).toContain('2 tensors would change · nothing is written')
    expect(text).not.toContain('as it lies on disk')
    expect(flowing(preview())).toContain('All of it would be in.')
  })

  test.each([
    [
      { ignored: [{ adapter: 'a', name: 'x.lora_E', reason: 'odd' }], holds: false },
      'Not applied: 1 tensor of the adapters: x.lora_E (odd).',
    ],
    [
      { untied: { head: 'lm_head.weight', embedding: 'wte.weight' } },
      'lm_head.weight is a tensor of its own now, and config.json says tie_word_embeddings: false.',
    ],
    [{ vocabulary: 32001 }, 'The vocabulary has 32,001 words now, which config.json says too.'],
    [{ warnings: ['odd'] }, 'Warning: odd'],
  ] as const)('%j', (changed, says) => {
    expect(flowing(result(changed as Partial<ApplyResult>))).toContain(says)
  })
})

test('both documents are as their schema says', () => {
  for (const one of [result({ vocabulary: 3, untied: { head: 'a', embedding: 'b' } }), preview()]) {
    documentOf(JSON.stringify(applyDocument(one)), 'apply-1')
  }
})

describe('advice', () => {
  const namesOf = (...layers: number[]) => layers.map((n) => `model.layers.${n}.mlp.up_proj.weight`)
  test.each([
    [
      namesOf(3, 1, 0, 2),
      'bf16 keeps 62 % of what is added in layers 0–3: write --dtype f32, or keep the adapter',
    ],
    [
      namesOf(0, 1, 5),
      'bf16 keeps 62 % of what is added in layers 0–1, 5: write --dtype f32, or keep the adapter',
    ],
    [namesOf(7), 'bf16 keeps 62 % of what is added in layer 7: write --dtype f32, or keep the adapter'],
    [
      ['lm_head.weight', ...namesOf(1)],
      'bf16 keeps 62 % of what is added in lm_head.weight, model.layers.1.mlp.up_proj.weight: write --dtype f32, or keep the adapter',
    ],
  ])('%j', (names, says) => {
    expect(adviceText({ dtype: 'bf16', gain: 0.62, names })).toBe(says)
  })
  test('a gain has three digits', () => {
    expect([1.0004, 0.99996, 0.6249, 0.00123].map(keptText)).toEqual(['100 %', '100 %', '62.5 %', '0.123 %'])
  })
})
