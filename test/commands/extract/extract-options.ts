import type { ExtractSettings } from '../../../src/commands/extract/options.ts'

/** Options as the command line gives them for rank 2, in the portable layout. */
export const extractOptions = (given: Partial<ExtractSettings> = {}): ExtractSettings => ({
  base: 'base',
  tuned: 'tuned',
  output: 'out',
  include: [],
  exclude: [],
  allowUnpaired: false,
  rule: { kind: 'rank', rank: 2 },
  limits: {},
  uniform: false,
  layout: 'portable',
  dtype: 'f32',
  distributeScale: true,
  saveFull: [],
  carryRest: false,
  embeddings: false,
  experts: false,
  baseName: undefined,
  certify: 'default',
  seed: 0n,
  memory: undefined,
  dryRun: false,
  restart: false,
  force: false,
  ...given,
})
