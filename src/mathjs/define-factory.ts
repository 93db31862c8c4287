import { type FactoryFunction, factory } from 'mathjs'

/** mathjs's `factory`, with the classes among its dependencies allowed, which its types leave out. */
export const defineFactory = factory as <D>(
  name: string,
  dependencies: readonly (string & keyof D)[],
  create: (dependencies: D) => unknown,
  meta?: { isClass: boolean },
) => FactoryFunction<unknown>

/** What we use of the typed-function of a mathjs instance. */
export interface TypedFunctions {
  (name: string, signatures: Record<string, (...args: never[]) => unknown>): unknown
  addTypes(types: { name: string; test: (x: unknown) => boolean }[], before: string): void
}
