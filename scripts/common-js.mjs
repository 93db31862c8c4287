// How what a command loads is bundled: as CommonJS, since Node starts its loader of ES modules only where it meets one, which takes 6 ms.

/** esbuild's options for it, beside those that bundles of ES modules have too. */
export const asCommonJs = {
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  // what is imported when it is needed is required then
  supported: { 'dynamic-import': false },
  define: { 'import.meta': 'bundleMeta' },
  banner: {
    js: '"use strict";const bundleMeta={get url(){return require("node:url").pathToFileURL(__filename).href}};',
  },
}
