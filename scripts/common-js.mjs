// How what a command loads is bundled: as CommonJS, since Node starts its loader of ES modules only where it meets one, which takes 6 ms.

const BUNDLE_META = 'const bundleMeta={get url(){return require("node:url").pathToFileURL(__filename).href}};'

/** For performance.now, of which only differences are asked: the object takes a millisecond to start. */
const MONOTONIC_NOW = 'const monotonicNow=()=>{const[s,ns]=process.hrtime();return s*1e3+ns/1e6};'

/** esbuild's options for it, beside those that bundles of ES modules have too. */
export const asCommonJs = {
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  // what is imported when it is needed is required then
  supported: { 'dynamic-import': false },
  define: { 'import.meta': 'bundleMeta', 'performance.now': 'monotonicNow' },
  banner: { js: `"use strict";${BUNDLE_META}${MONOTONIC_NOW}` },
}
