import { type FactoryFunction, factory } from 'mathjs'

interface Meta {
  /** Made as soon as it is imported, and not on first use. */
  readonly lazy?: false
}

/** mathjs's `factory`, with the classes among its dependencies allowed, which its types leave out. */
export const defineFactory = factory as <D>(
  name: string,
  dependencies: readonly (string & keyof D)[],
  create: (dependencies: D) => unknown,
  meta?: Meta,
) => FactoryFunction<unknown>

export type Signatures = Record<string, (...args: never[]) => unknown>

/** What we use of the typed-function of a mathjs instance. */
export interface TypedFunctions {
  (name: string, signatures: Signatures): unknown
  addTypes(types: { name: string; test: (x: unknown) => boolean }[], before: string): void
}

const made = new WeakMap<TypedFunctions, Map<string, unknown>>()

/**
 * What `make` gave the first time for this mathjs instance, which `typed` stands for. mathjs joins the signatures of two
 * functions of one name only where equal signatures are the same function: so importing everything twice changes nothing.
 */
export function oncePerInstance<T>(typed: TypedFunctions, name: string, make: () => T): T {
  const ofInstance = made.get(typed) ?? new Map<string, unknown>()
  made.set(typed, ofInstance)
  if (!ofInstance.has(name)) ofInstance.set(name, make())
  return ofInstance.get(name) as T
}
