import { type FactoryFunction, factory } from 'mathjs'
import type { WithMatrices } from './float-matrix.ts'

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

type AnyFunction = (...args: unknown[]) => unknown

/** Dependencies with the mathjs instance itself. */
export interface WithMath extends WithMatrices {
  math: Record<string, AnyFunction | undefined>
}

/** More signatures for a function that mathjs has. */
export interface Extension {
  readonly name: string
  signatures(dependencies: WithMath): Signatures
}

const extensionOf = ({ name, signatures }: Extension, given: WithMath) =>
  oncePerInstance(given.typed, `more ${name}`, () => given.typed(name, signatures(given)))

/**
 * Joins the signatures to the functions that the instance has. An import within the import, because a factory of such a name
 * would take the place of mathjs's function where `override` is set.
 */
export function extend(extensions: readonly Extension[], given: WithMath): void {
  const functions = extensions.map((extension) => [extension.name, extensionOf(extension, given)])
  given.math.import?.(Object.fromEntries(functions))
}

/** The function with these signatures alone, for an instance that doesn't have mathjs's. */
export const factoryOf = (extension: Extension): FactoryFunction<unknown> =>
  defineFactory(extension.name, ['typed', 'DenseMatrix', 'math'], (given: WithMath) =>
    extensionOf(extension, given),
  )
