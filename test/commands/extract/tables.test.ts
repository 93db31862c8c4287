import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { excessText } from '../../../src/commands/extract/layer-columns.ts'
import { carriedBy, leftText } from '../../../src/commands/extract/sentences.ts'
import { extractTables } from '../../../src/commands/extract/text.ts'
import { peftModule } from '../../../src/lora/kinds.ts'
import { modelTraits } from '../../../src/lora/traits.ts'
import { rendered, widest } from '../../report/rendered.ts'
import { digitsLlama } from '../inspect/sample-results.ts'
import { anyExtractResult } from './any-result.ts'
import { bigLayers, digitsLayers, layerOf, mixedResult, normsLeft, resultOf } from './sample-results.ts'

const { painted, plain, flowing } = rendered(extractTables)

describe('no line is wider than the terminal', () => {
  test.each([
    ['a small model', resultOf(digitsLayers(16))],
    ['a big model', resultOf(bigLayers(32))],
    ['all that can be', mixedResult()],
  ])('%s', (_, result) => {
    for (let columns = 40; columns <= 220; columns += 5) {
      expect(widest(painted(result, columns))).toBeLessThanOrEqual(columns)
    }
  })

  test('whatever the result; and colour changes nothing but colour', () => {
    fc.assert(
      fc.property(anyExtractResult, fc.integer({ min: 40, max: 220 }), (result, columns) => {
        const text = painted(result, columns)
        expect(widest(text)).toBeLessThanOrEqual(columns)
        expect(stripVTControlCharacters(text)).toBe(plain(result, columns))
      }),
    )
  })
})

describe('the layers', () => {
  test('show rank, error and its distance from NumPy’s optimum', () => {
    const lines = plain(resultOf(digitsLayers(16)), 200).split('\n')
    for (const [name, { shape, delta_singular_values: S, ...delta }] of Object.entries(digitsLlama)) {
      const shortName = name.replace(/^model\.layers\.(.*)\.weight$/, '$1')
      const cells = lines.find((line) => line.startsWith(`${shortName} `))!.split(/ {2,}/)
      const best = Math.hypot(...S.slice(16)) / delta.delta_frobenius
      expect(cells.slice(1, 4)).toEqual([shape.join(' × '), 'f32', '16'])
      expect(Number(cells[4])).toBeCloseTo(best, 3)
      expect(cells[6]).toBe('+0.03 %')
      expect(cells[7]).toBe((delta.delta_frobenius / delta.base_frobenius).toPrecision(3))
    }
  })

  test('show the stored rank only where it is padded, and infinity where the base is zero', () => {
    expect(plain(resultOf(digitsLayers(16)), 200)).not.toContain('stored')
    const text = plain(mixedResult(), 200)
    expect(text).toMatch(/^1\.self_attn\.q_proj .* bf16 +3 +64 +0\.00210 +0 +– /m)
    expect(text).toMatch(/^2\.mlp\.up_proj .* 3\.00 × +∞ /m)
  })

  test('lose the least telling columns, and say at which width there is room for all', () => {
    const result = resultOf(mixedResult().layers)
    expect(plain(result, 60)).toMatch(/^name +rank +error +above$/m)
    const columns = Number(/a terminal of (\d+) columns/.exec(flowing(result, 60))![1])
    expect(plain(result, columns)).not.toContain('not shown')
    expect(plain(result, columns)).not.toContain('…perts')
    expect(plain(result, columns - 1)).toMatch(/not shown|model\.[a-z0-9.]*…/)
  })

  test('of a long list: each kind, the ten worst and the three best', () => {
    const text = plain(resultOf(bigLayers(32)), 120)
    expect(text).toMatch(/^mlp\.down_proj +32 +16 +0\.800–0\.831 +\+0\.03 % +0\.0123$/m)
    expect(text.match(/^\d+\.\S+_proj /gm)).toHaveLength(13)
    expect(text).toMatch(/The 10 largest errors\n.*\n.*\n\d+\.mlp\.down_proj .* 0\.831 /)
    expect(text).toMatch(
      /The 3 smallest \(--json has all\)\n.*\n.*(\n\d+\.self_attn\.q_proj .* 0\.20\d .*){3}\n/,
    )
    expect(plain(resultOf(bigLayers(5)), 120).match(/^\d+\.\S+_proj /gm)).toHaveLength(35)
  })
})

test('an excess is rounded up, so that what is said is true', () => {
  expect([0, 0.00001, 0.0001, 0.000101, 0.0999, 0.12345, 0.99].map(excessText)).toEqual([
    '< 0.01 %',
    '< 0.01 %',
    '+0.01 %',
    '+0.02 %',
    '+9.99 %',
    '+12.4 %',
    '+99.0 %',
  ])
  expect([1.5, 12345, undefined].map(excessText)).toEqual(['2.50 ×', '12300 ×', '–'])
})

describe('around them', () => {
  test('measured, best possible and promised stand side by side', () => {
    const text = flowing(resultOf(digitsLayers(16), { notCarried: normsLeft }))
    expect(text).toContain('error on disk 0.253957 over all layers: 93.6 % of ‖Δ‖_F² kept')
    expect(text).toContain('best possible 0.253906 … 0.253957 (the error is at most 0.03 % above it)')
    expect(text).toContain('promised rank 16 for each layer')
    expect(text).toContain('over all that changed 0.352')
    expect(text).toContain('parameters 91,520 of 337,152 (27.1 %)')
    expect(text).toContain('What was promised holds.')
  })

  test('what is not carried, by reason, the largest change first, with what would carry it', () => {
    const text = flowing(resultOf(digitsLayers(4), { notCarried: normsLeft }))
    for (const line of [
      'Not carried: 1 tensor, not a matrix: a norm, a bias or a number; its module gets LoRA factors: model.layers.0.bias (changed from zero). Not',
      'an embedding (--embeddings carries it): model.embed_tokens.weight (changed by 0.200). --carry-rest stores these whole.',
      'Not carried: 24 tensors, not a matrix: a norm, a bias or a number: model.layers.23.input_layernorm.weight (changed by 0.0240), model.layers.22.input_layernorm.weight (changed by 0.0230), model.layers.21.input_layernorm.weight (changed by 0.0220), and 21 more. --carry-rest stores these whole.',
      'Not carried: 1 tensor, the vocabulary has grown: lm_head.weight. --carry-rest stores these whole.',
      'Not carried: 1 tensor, only in the tuned model: value_head.weight. ',
    ]) {
      expect(text).toContain(line)
    }
    expect(painted(resultOf([], { notCarried: [normsLeft[24]] }), 200)).toContain(
      '\u001b[33mNot carried: 1 tensor, the vocabulary has grown: lm_head.weight. --carry-rest stores these whole.\u001b[39m',
    )
  })

  test('a missed promise in red with what may help, the budget, and what was taken over', () => {
    const text = flowing(mixedResult())
    expect(text).toContain('gate_up_proj[3]: an error of 0.1021 where 0.1000 was asked for.')
    expect(text).toContain('What may help: --dtype f32 instead of bf16, or a higher --max-rank.')
    expect(text).not.toContain('What was promised holds')
    expect(text).toContain(
      '39.5 MiB of 40 MiB used; the 512 KiB left could have gained at most 0.1 % of ‖Δ‖_F²',
    )
    expect(text).toContain('taken over 2 layers from a run that was cut off')
    expect(text).toContain(
      'Base and tuned are equal here, and the adapter changes it: 1 tensor (lm_head.weight).',
    )
    expect(text).toContain('known less closely than it should be: the singular values fall too slowly')
    expect(painted(mixedResult(), 200)).toContain('\u001b[31mNot kept: model.layers.0')
  })

  test('without layers there are no errors of them', () => {
    const text = plain(resultOf([], { saved: mixedResult().saved }))
    expect(text).not.toContain('error on disk')
    expect(text).toContain('Nothing is factored: what changed is stored whole.')
  })

  test('where no option would help, none is named', () => {
    const broken = [{ kind: 'error', name: 'a', found: 0.5, allowed: 0.1 } as const]
    const result = resultOf([layerOf('a', [8, 8], 2, 0.5)], { broken, holds: false })
    expect(flowing(result)).toContain('Run it again with --restart.')
  })
})

test('advice follows the reasons that are really given', () => {
  const traits = modelTraits(undefined, new Map([['model.norm.weight', { shape: [8] }]]))
  const reasonOf = (name: string, view: 'matrix' | 'expert', shape: number[]) => {
    const module = peftModule(name, view, shape, traits)
    if (!('reason' in module)) throw new Error(`${name} has a module`)
    return { because: { kind: 'no-module', ...module } as const }
  }
  expect(carriedBy(reasonOf('model.layers.0.mlp.experts.down_proj', 'expert', [4, 8, 8]))).toContain(
    '--experts',
  )
  expect(leftText(reasonOf('model.embed_tokens.weight', 'matrix', [8, 8]))).toContain('--embeddings')
  expect(carriedBy(reasonOf('model.embed_tokens.weight', 'matrix', [8, 8]))).toContain('--carry-rest')
  expect(carriedBy({ because: { kind: 'missing-in-tuned' } })).toBeUndefined()
  const notWhole = 'its module gets LoRA factors'
  expect(carriedBy({ because: { kind: 'not-a-matrix' }, notWhole })).toBeUndefined()
  expect(leftText({ because: { kind: 'not-a-matrix' }, notWhole })).toMatch(
    /^not a matrix: .*; its module gets/,
  )
})
