import type { FactoryFunction } from 'mathjs'
import { defineFactory, oncePerInstance, type Signatures } from './define-factory.ts'
import type { WithMatrices } from './float-matrix.ts'

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
