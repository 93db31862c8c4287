import type { Products } from '../engine.ts'
import { gram, multiply } from './multiply.ts'
import { resident } from './resident.ts'

/** Plain loops: slow, and what the other engines are tested against. */
export const jsProducts: Products = { name: 'js', threads: 1, multiply, gram, resident }
