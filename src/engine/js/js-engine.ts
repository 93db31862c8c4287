import { decompositions } from '../../svd/decompositions.ts'
import { jsKernels } from '../../svd/js-kernels.ts'
import type { Engine } from '../engine.ts'
import { gram, multiply } from './multiply.ts'
import { resident } from './resident.ts'

/** Plain loops: right for small matrices, slow for others, and what the other engines are tested against. */
export const jsEngine: Engine = {
  name: 'js',
  threads: 1,
  multiply,
  gram,
  resident,
  ...decompositions(jsKernels),
}
