import { jsonDocument } from '../report/json.ts'
import type { ExtractPreview } from './result.ts'

/** The JSON document of `extract --dry-run`; its fields are those of schemas/extract-plan-1.json. */
export function previewDocument(preview: ExtractPreview) {
  const { source, rule, layout, layers, saved, unchanged, notCarried, totals, output, resumable, warnings } =
    preview
  return jsonDocument('extract-plan', 1, {
    source,
    rule,
    layout,
    layers,
    saved,
    unchanged,
    notCarried,
    totals,
    output,
    resumable,
    warnings,
  })
}
