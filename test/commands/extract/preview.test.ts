import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { extractExitCode, previewDocument } from '../../../src/commands/extract/document.ts'
import { previewTables } from '../../../src/commands/extract/preview-text.ts'
import type { ExtractPreview } from '../../../src/commands/extract/result.ts'
import { documentOf } from '../../cli/schema.ts'
import { rendered, widest } from '../../report/rendered.ts'
import { anyPreview } from './any-result.ts'
import { bigLayers, digitsLayers, normsLeft, previewOf } from './sample-results.ts'

const { painted, plain, flowing } = rendered(previewTables)
const written = (preview: ExtractPreview) =>
  documentOf(JSON.stringify(previewDocument(preview)), 'extract-plan-1')

test('no line is wider than the terminal, colour changes nothing but colour, the document is valid', () => {
  fc.assert(
    fc.property(anyPreview, fc.integer({ min: 40, max: 220 }), (preview, columns) => {
      const text = painted(preview, columns)
      expect(widest(text)).toBeLessThanOrEqual(columns)
      expect(stripVTControlCharacters(text)).toBe(plain(preview, columns))
      expect(written(preview).layers).toHaveLength(preview.layers.length)
    }),
  )
})

describe('says', () => {
  const preview = previewOf(digitsLayers(16), { notCarried: normsLeft })
  test('what would be factored, at what size', () => {
    expect(plain(preview)).toMatch(/^0\.mlp\.down_proj +96 × 256 +f32 +16 +11 KiB$/m)
    expect(flowing(preview)).toContain('to be factored 23 layers, 337,152 parameters')
    expect(flowing(preview)).toContain('size 11.8 MiB (12,345,678 bytes) in all')
    expect(flowing(preview)).toContain('nothing was computed or written')
    expect(flowing(preview)).toContain('the vocabulary has grown: lm_head.weight. --carry-rest')
  })

  test('that the disk is too small, in red', () => {
    const small = { ...preview, output: { ...preview.output, free: 2 ** 20 } }
    expect(flowing(small)).toContain('free there 1 MiB: not enough')
    expect(flowing(preview)).not.toContain('not enough')
    expect(painted(small, 100)).toContain('\u001b[31mnot\u001b[39m')
    expect([extractExitCode(small), extractExitCode(preview)]).toEqual([3, 0])
  })

  test('which figures wait for the ranks', () => {
    const { bytes: _, ...output } = preview.output
    const layers = preview.layers.map(({ name, shape, dtype }) => ({ name, shape, dtype }))
    const unknown = { ...preview, layers, output, rule: { kind: 'error', error: 0.1 } as const }
    expect(flowing(unknown)).toContain('size not known before the ranks are')
    expect(plain(unknown)).toMatch(/^name +shape +dtype$/m)
    expect(flowing({ ...unknown, rule: { kind: 'budget', bytes: 2 ** 22 } })).toContain('size 4 MiB at most')
  })

  test('each kind of many layers once', () => {
    const text = plain(previewOf(bigLayers(32)))
    expect(text).toMatch(/^mlp\.up_proj +32 +5,632 × 2,048 +bf16 +16 +7\.5 MiB$/m)
    expect(text).toContain('--json lists each layer')
    expect(text.split('\n').length).toBeLessThan(25)
  })

  test('what a killed run has done already', () => {
    expect(flowing({ ...preview, resumable: 3 })).toContain(
      'done already 3 layers, by a run that was cut off',
    )
  })
})
