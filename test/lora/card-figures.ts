import type { CardFigures } from '../../src/lora/write/card.ts'

/** A card of which nothing has been measured yet. */
export const noFigures: CardFigures = {
  baseModel: undefined,
  taskType: undefined,
  tool: { version: '1.2.3', command: 'lora-svd extract BASE TUNED -o ADAPTER' },
  layers: new Map(),
  relativeError: undefined,
  unchanged: 3,
  notCarried: [{ name: 'model.norm.weight', reason: 'not a matrix', relativeChange: undefined }],
}
