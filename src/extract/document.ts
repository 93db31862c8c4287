import { jsonDocument, jsonNumber } from '../report/json.ts'
import type { Interval } from '../spectrum/types.ts'
import {
  notCarriedFields,
  relativeChangeFields,
  relativeErrorFields,
  totalErrorFields,
  wholeTensorFields,
} from '../verify/document.ts'
import type { ExtractedLayer, ExtractResult } from './result.ts'

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
