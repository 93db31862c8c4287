import { jsonDocument, jsonNumber } from '../report/json.ts'
import type { NotCarried, VerifiedTensor, VerifyResult } from './result.ts'

/** The JSON document of `verify`; its fields are those of schemas/verify-1.json. */
export function verifyDocument(result: VerifyResult) {
  const { adapter, base, tuned, layers, replaced, notCarried, unchanged, worst, totals, maxError } = result
  return jsonDocument('verify', 1, {
    source: { adapter, base, tuned },
    layers: layers.map((layer) => ({ ...layer, ...relativeErrorFields(layer.relativeError) })),
    replaced: replaced.map(wholeTensorFields),
    notCarried: notCarried.map(notCarriedFields),
    unchanged,
    ...(worst !== undefined && { worst: { ...worst, ...relativeErrorFields(worst.relativeError) } }),
    totals: {
      relativeError: jsonNumber(totals.relativeError),
      wholeRelativeError: jsonNumber(totals.wholeRelativeError),
    },
    ...(maxError !== undefined && { maxError }),
    holds: result.holds,
    warnings: result.warnings,
    seconds: result.seconds,
  })
}

/** An infinite error is null, with the reason. */
export const relativeErrorFields = (error: number) =>
  Number.isFinite(error)
    ? { relativeError: error }
    : { relativeError: null, reason: 'base and tuned are equal here, and the adapter changes it' }

export function wholeTensorFields({ residualFrobenius, relativeError, ...tensor }: VerifiedTensor) {
  return {
    ...tensor,
    residualFrobenius: jsonNumber(residualFrobenius),
    ...relativeErrorFields(relativeError),
  }
}

export function notCarriedFields({ name, reason, relativeChange, deltaFrobenius }: NotCarried) {
  return {
    name,
    reason,
    relativeChange: relativeChange === undefined ? null : jsonNumber(relativeChange),
    ...(deltaFrobenius !== undefined && { deltaFrobenius }),
  }
}
