/**
 * That what stands for a module gives what its importers take: each export of the stand-in can be used as the one of the same name. Types alone,
 * which nobody imports; that nothing is missing, the build says.
 */
type Fit<Real, Own extends { [K in keyof Own]: K extends keyof Real ? Real[K] : unknown }> = Own

export type Fits = [
  Fit<typeof import('../../io/source.ts'), typeof import('./io/source.ts')>,
  Fit<typeof import('../../io/files.ts'), typeof import('./io/files.ts')>,
  Fit<typeof import('../../io/write-atomic.ts'), typeof import('./io/write-atomic.ts')>,
  Fit<typeof import('../../io/built-file.ts'), typeof import('./io/built-file.ts')>,
  Fit<typeof import('../../io/run-folder.ts'), typeof import('./io/run-folder.ts')>,
  Fit<typeof import('../../io/own-folder.ts'), typeof import('./io/folders.ts')>,
  Fit<typeof import('../../io/place-folder.ts'), typeof import('./io/folders.ts')>,
  Fit<typeof import('../../io/copy-files.ts'), typeof import('./io/folders.ts')>,
  Fit<typeof import('../../jobs/thread.ts'), typeof import('./jobs/thread.ts')>,
  Fit<typeof import('node:path'), typeof import('./node/path.ts')>,
  Fit<typeof import('node:os'), typeof import('./node/os.ts')>,
]
