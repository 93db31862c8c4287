import type { Engine } from '../../src/engine/engine.ts'
import { jsProducts } from '../../src/engine/js/js-engine.ts'
import { wasmSvdKernels } from '../../src/engine/wasm/svd-kernels.ts'
import { createWasmProducts } from '../../src/engine/wasm/wasm-engine.ts'
import { decompositions } from '../../src/svd/decompositions.ts'
import { jsKernels } from '../../src/svd/js-kernels.ts'

/** Plain loops throughout. */
export const jsEngine: Engine = { ...jsProducts, ...decompositions(jsKernels) }

const products = createWasmProducts()

/** The embedded engine, one thread. */
export const wasmEngine: Engine = { ...products, ...decompositions(wasmSvdKernels(products.runtime)) }

/** Both: what holds for one must hold for the other. */
export const engines: readonly (readonly [string, Engine])[] = [
  ['js', jsEngine],
  ['wasm', wasmEngine],
]
