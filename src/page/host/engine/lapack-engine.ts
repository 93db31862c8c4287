/** Stands for engine/lapack/lapack-engine.ts: a page has no libraries of the system. */
export const createLapackEngine = (_options: object) => ({
  isAbsent: true,
  reason: 'a browser has no libraries of the system',
})
