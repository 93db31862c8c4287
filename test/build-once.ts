import { buildWasm } from '../scripts/build-wasm.mjs'

/** Vitest global set-up: the embedded engine is built when its sources are newer. */
export default async function setup(): Promise<void> {
  await buildWasm()
}
