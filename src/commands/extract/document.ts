import type { Interval } from '../../linalg/spectrum/spectrum.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import {
  notCarriedFields,
  relativeChangeFields,
  relativeErrorFields,
  totalErrorFields,
  wholeTensorFields,
} from '../verify/document.ts'
import type { ExtractedLayer, ExtractPreview, ExtractResult } from './result.ts'

/** The JSON document of `extract`; its fields are those of schemas/extract-1.json. */
export function extractDocument(result: ExtractResult) {
  const { source, rule, layout, layers, saved, unchanged, notCarried, totals, budget } = result
  return jsonDocument('extract', 1, {
    source,
    rule,
    layout,
    layers: layers.map(layerFields),
    saved: saved.map(wholeTensorFields),
    unchanged,
    notCarried: notCarried.map(notCarriedFields),
    totals: {
      ...totals,
      ...totalErrorFields(totals),
      optimalError: interval(totals.optimalError),
    },
    ...(budget !== undefined && { budget }),
    verdict: result.verdict,
    broken: result.broken,
    holds: result.holds,
    output: result.output,
    resumed: result.resumed,
    warnings: result.warnings,
    engine: result.engine,
    seconds: result.seconds,
  })
}

function layerFields({ relativeError, optimalError, relativeChange, ...layer }: ExtractedLayer) {
  return {
    ...layer,
    ...relativeErrorFields(relativeError),
    optimalError: interval(optimalError),
    ...relativeChangeFields(relativeChange),
  }
}

const interval = ({ atLeast, atMost }: Interval) => ({
  atLeast: jsonNumber(atLeast),
  atMost: jsonNumber(atMost),
})

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
