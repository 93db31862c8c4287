/** The program of the worker threads in which commands do their jobs: one line for each kind of job. */
import { serveJobs } from './jobs/serve.ts'
import type { JobLoaders } from './jobs/types.ts'

const loaders: JobLoaders = {
  inspect: async () => (await import('./inspect/work.ts')).inspectMatrix,
  extract: async () => (await import('./extract/layer.ts')).extractLayer,
  measure: async () => (await import('./verify/measure.ts')).measureMatrix,
}

serveJobs(loaders)
