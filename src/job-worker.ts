import { type JobLoaders, serveJobs } from './jobs/worker.ts'

/** The program of the worker threads in which commands do their jobs: one line for each kind of job. */

const loaders: JobLoaders = {
  inspect: async () => (await import('./commands/inspect/work.ts')).inspectMatrix,
  extract: async () => (await import('./compress/layer.ts')).extractLayer,
  sum: async () => (await import('./compress/sum.ts')).sumModules,
  apply: async () => (await import('./commands/apply/apply-jobs.ts')).applyWork,
  difference: async () => (await import('./convert/difference-jobs.ts')).differenceBytes,
  'stored-difference': async () => (await import('./convert/difference-jobs.ts')).compareDifference,
  convert: async () => (await import('./convert/compare-products.ts')).compareProducts,
  compare: async () => (await import('./commands/compare/compare-layer.ts')).compareLayer,
  measure: async () => (await import('./measure/measure.ts')).measureMatrix,
}

serveJobs(loaders)
