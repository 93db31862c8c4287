import type { Checkpoint } from '../../../checkpoint/types.ts'
import { LoraSvdError } from '../../../errors.ts'
import { notLoaded, notLoadedText } from '../../../lora/found-by-loaders.ts'
import type { Effect, Loader } from '../../../lora/loaders/types.ts'
import { type BaseMatch, matchToBase } from '../../../lora/match.ts'
import { type Adapter, type AdapterModule, tensorsOf } from '../../../lora/model.ts'
import { modelTraits } from '../../../lora/traits.ts'
import { shapeText } from '../../../text/quote.ts'
import type { Found } from '../rules.ts'

/** How far the adapter and a base fit each other; what loaders find no module for counts where it is asked for one of them. */
export function baseDefects(adapter: Adapter, base: Checkpoint, loaders: readonly Loader[]): Found[] {
  const { match, misfits } = matchPastMisfits(adapter, base)
  const traits = modelTraits(base.config, base.tensors)
  const lost = notLoaded(adapter, match.matched, traits).filter((one) =>
    one.loaders.some((loader) => loaders.includes(loader)),
  )
  const wrongWhole = match.replaced.filter(
    ({ replaced, base: stored }) =>
      stored === undefined || (replaced.rows === undefined && !isSame(replaced.tensor.shape, stored.shape)),
  )
  const labelsInFile = new Map(match.matched.map(({ module }) => [module.label, labelsOf(module)]))
  const nowhere = match.unmatched.filter(({ isShared }) => !isShared)
  const twice = match.unmatched.filter(({ isShared }) => isShared)
  const [[unmatched], [shared]] = [nowhere, twice]
  return [
    ...misfits,
    ...(unmatched === undefined
      ? []
      : [
          {
            rule: 'base-unmatched' as const,
            message: `A module's name is none of the base's: ${unmatched.reason}.`,
            names: namesOf(nowhere),
          },
        ]),
    ...(shared === undefined
      ? []
      : [
          {
            rule: 'base-shared' as const,
            message: `Two modules change one weight: ${shared.module.label} ${shared.reason}.`,
            names: namesOf(twice),
          },
        ]),
    ...(wrongWhole.length === 0
      ? []
      : [
          {
            rule: 'base-whole' as const,
            message: wholeText(wrongWhole[0]),
            names: wrongWhole.map(({ replaced }) => replaced.tensor.name),
          },
        ]),
    ...lost.map((one) => ({
      rule: 'base-not-loaded' as const,
      message: `${notLoadedText(one)}.`,
      names: [...new Set(one.modules.flatMap((label) => labelsInFile.get(label) ?? label))],
      loading: { loaders: one.loaders, ...lossOf(one.reason) },
    })),
  ]
}

const namesOf = (unmatched: BaseMatch['unmatched']) => unmatched.map(({ module }) => module.label)

/** The labels of the file's modules that a matched one is of. */
const labelsOf = ({ label, ofLabel, product }: AdapterModule): string[] =>
  product.kind === 'stack' ? Object.values(product.parts).flat().flatMap(labelsOf) : [ofLabel ?? label]

/** What `would load nothing at all: it is a router` is to the adapter. */
function lossOf(reason: string): { effect: Effect; why: string } {
  const isOfAll = reason.startsWith('would load nothing at all')
  return {
    effect: isOfAll ? 'refuses' : 'passes over',
    why: reason
      .replace(/^would load nothing of it: /, 'it finds nothing of it: ')
      .replace(/^would/, 'it would'),
  }
}

const isSame = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((n, i) => n === b[i])

function wholeText({ replaced: { name, tensor }, base }: BaseMatch['replaced'][number]): string {
  return base === undefined
    ? `A whole tensor is for ${name}, which the base has none of.`
    : `A whole tensor has the shape ${shapeText(tensor.shape)}, and the base's ${base.name} ${shapeText(base.shape)}.`
}

/** Modules of a wrong shape that are found one by one; after so many the base is another, and the rest is not looked at. */
const MOST_MISFITS = 8

function matchPastMisfits(
  adapter: Adapter,
  base: Checkpoint,
): { readonly match: BaseMatch; readonly misfits: readonly Found[] } {
  let modules = adapter.modules
  const messages: string[] = []
  const names: string[] = []
  for (;;) {
    try {
      const match = matchToBase({ ...adapter, modules }, base)
      return { match, misfits: misfitsOf(messages, names) }
    } catch (error) {
      if (!(error instanceof LoraSvdError) || error.tensor === undefined) throw error
      const at = modules.findIndex(({ product }) =>
        tensorsOf(product).some(({ name }) => name === error.tensor),
      )
      if (at < 0) throw error
      messages.push(error.message.slice(adapter.path.length + 2))
      names.push(modules[at].label)
      modules = modules.length > 0 && names.length < MOST_MISFITS ? modules.toSpliced(at, 1) : []
    }
  }
}

function misfitsOf(messages: readonly string[], names: readonly string[]): Found[] {
  const [first] = messages
  if (first === undefined) return []
  return [{ rule: 'base-shapes', message: `${first[0].toUpperCase()}${first.slice(1)}.`, names }]
}
