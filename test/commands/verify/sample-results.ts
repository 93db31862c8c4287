import type { VerifyResult } from '../../../src/commands/verify/verify.ts'
import type { VerifiedLayer } from '../../../src/measure/measure.ts'

/** Results as `verify` gives them, for the tests of what is printed of them. */

const layerOf = (index: number, relativeError: number): VerifiedLayer => ({
  name: `model.layers.${index}.self_attn.q_proj.weight`,
  shape: [2048, 2048],
  rank: 8,
  scale: 2,
  deltaFrobenius: 1.5,
  residualFrobenius: 1.5 * relativeError,
  baseFrobenius: 40,
  relativeError,
})

export const verifyResult = (changed: Partial<VerifyResult> = {}): VerifyResult => ({
  source: { adapter: 'adapter', base: 'base', tuned: 'tuned' },
  layers: [layerOf(0, 0.25), layerOf(1, 0.05)],
  replaced: [],
  notCarried: [],
  unchanged: [],
  notLoaded: [],
  worst: { name: 'model.layers.0.self_attn.q_proj.weight', relativeError: 0.25 },
  // √((0.25² + 0.05²) / 2), and with a change of 1 besides
  totals: { relativeError: 0.180278, wholeRelativeError: 0.461, matched: 5, unmatched: 0 },
  holds: true,
  warnings: [],
  seconds: 1.5,
  ...changed,
})

export const longResult = () =>
  verifyResult({ layers: Array.from({ length: 50 }, (_, i) => layerOf(i, 0.1 + 0.001 * i)) })
