import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { verifyTables } from '../../../src/commands/verify/text.ts'
import type { VerifyResult } from '../../../src/commands/verify/verify.ts'
import { rendered, widest } from '../../report/rendered.ts'
import { anyVerifyResult } from '../extract/any-result.ts'
import { longResult, verifyResult } from './sample-results.ts'

const { painted, plain, flowing } = rendered(verifyTables)

test('no line is wider than the terminal, and colour changes nothing but colour', () => {
  fc.assert(
    fc.property(anyVerifyResult, fc.integer({ min: 40, max: 220 }), (result, columns) => {
      const text = painted(result, columns)
      expect(widest(text)).toBeLessThanOrEqual(columns)
      expect(stripVTControlCharacters(text)).toBe(plain(result, columns))
    }),
  )
})

describe('the layers', () => {
  test('with rank, scale and error', () => {
    expect(plain(verifyResult())).toMatch(/^1\.self_attn\.q_proj +2,048 × 2,048 +8 +2 +0\.0500 +1\.50$/m)
  })
  test('red above --max-error, green within', () => {
    const text = painted(verifyResult({ maxError: 0.1 }), 100)
    expect(text).toContain('\u001b[31m0.250\u001b[39m')
    expect(text).toContain('\u001b[32m0.0500\u001b[39m')
  })
  test('of a long list each kind, the worst and the best', () => {
    const text = plain(longResult(), 100)
    expect(text).toMatch(/^self_attn\.q_proj +50 +8 +2 +0\.100–0\.149$/m)
    expect(text.match(/^\d+\.self_attn\.q_proj /gm)).toHaveLength(13)
    expect(text).toMatch(/The 10 largest errors\n.*\n.*\n49\.self_attn/)
  })
})

describe('what it comes to', () => {
  const verdicts: [string, Partial<VerifyResult>, string][] = [
    ['holds', { maxError: 0.3, holds: true }, 'Holds: no error is above 0.3.'],
    [
      'does not',
      { maxError: 0.1, holds: false },
      'Does not hold: above 0.1: 1 tensor (model.layers.0.self_attn.q_proj.weight).',
    ],
    [
      'an error with nothing to compare with',
      {
        replaced: [
          { name: 'a.b', relativeError: Number.POSITIVE_INFINITY, deltaFrobenius: 0, residualFrobenius: 1 },
        ],
      },
      'Base and tuned are equal here, and the adapter changes it: 1 tensor (a.b).',
    ],
    [
      'another shape',
      {
        replaced: [
          {
            name: 'a.b',
            relativeError: Number.POSITIVE_INFINITY,
            deltaFrobenius: 1,
            residualFrobenius: Number.POSITIVE_INFINITY,
          },
        ],
      },
      'Stored in another shape than the tuned one has: 1 tensor (a.b).',
    ],
    [
      'infinite over all',
      {
        totals: {
          relativeError: Number.POSITIVE_INFINITY,
          wholeRelativeError: 0.5,
          matched: 5,
          unmatched: 0,
        },
      },
      'error over these infinite',
    ],
    [
      'not carried',
      { notCarried: [{ name: 'norm.weight', reason: 'a vector', relativeChange: 0.02 }] },
      'Not carried: 1 tensor, a vector: norm.weight (changed by 0.0200).',
    ],
    [
      'loaders that take it for nothing',
      {
        holds: false,
        maxError: 0.3,
        notLoaded: [
          {
            loaders: ['PEFT', 'vLLM'],
            reason: 'would load nothing of it: its names',
            modules: ['a.q', 'b.q'],
          },
        ],
      },
      'PEFT and vLLM would load nothing of it: its names: 2 modules (a.q, b.q). Does not hold: what is measured here is not what a model gets.',
    ],
    ['warnings', { warnings: ['alpha is a guess'] }, 'Warning: alpha is a guess'],
    ['equal', { unchanged: ['lm_head.weight'] }, 'Equal in both: 1 tensor (lm_head.weight).'],
  ]
  test.each(verdicts)('%s', (_, changed, text) => {
    expect(flowing(verifyResult(changed))).toContain(text)
    expect(flowing(verifyResult())).not.toContain(text)
  })

  test('errors over what is carried, over all, and the largest', () => {
    const text = flowing(
      verifyResult({ notCarried: [{ name: 'n', reason: 'r', relativeChange: 1, deltaFrobenius: 1 }] }),
    )
    expect(text).toContain('carried 2 layers error over these 0.180278 kept of ‖Δ‖_F² 96.7 %')
    expect(text).toContain('not carried 1 tensor over all that changed 0.461')
    expect(text).toContain('largest error 0.25 model.layers.0.self_attn.q_proj.weight')
  })

  test('an adapter that carries nothing of it', () => {
    const { worst: _, ...rest } = verifyResult({
      layers: [],
      totals: { relativeError: 0, wholeRelativeError: 1, matched: 5, unmatched: 0 },
    })
    expect(flowing({ ...rest, maxError: 0.1 })).toContain('The adapter carries nothing of what was compared.')
    expect(flowing({ ...rest, maxError: 0.1 })).not.toContain('Holds')
  })
})
