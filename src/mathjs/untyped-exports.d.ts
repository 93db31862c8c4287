import type { FactoryFunction } from 'mathjs'

/** What mathjs exports and its own types leave out. */
declare module 'mathjs' {
  export const createTyped: FactoryFunction<unknown>
  export const createMatrixClass: FactoryFunction<unknown>
  export const createDenseMatrixClass: FactoryFunction<unknown>
  /** The embedded documentation that `help` reads, shared by all instances. */
  export const docs: Record<string, object>
}
