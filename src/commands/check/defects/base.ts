import type { Checkpoint } from '../../../checkpoint/types.ts'
import type { LoraSvdError } from '../../../errors.ts'
import { notLoaded, notLoadedText } from '../../../lora/found-by-loaders.ts'
import type { Effect, Loader } from '../../../lora/loaders/types.ts'
import { type BaseMatch, matchToBase } from '../../../lora/match.ts'
import { type Adapter, type AdapterModule, tensorsOf } from '../../../lora/model.ts'
import { modelTraits } from '../../../lora/traits.ts'
import { shapeText } from '../../../text/quote.ts'
import type { Found } from '../rules.ts'

/** How far the adapter and a base fit each other; what loaders find no module for counts where it is asked for one of them. */
export function baseDefects(adapter: Adapter, base: Checkpoint, loaders: readonly Loader[]): Found[] {
  const traits = modelTraits(base.config, base.tensors)
  const misfits: LoraSvdError[] = []
  const match = matchToBase(adapter, base, traits, (error) => misfits.push(error))
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
    ...misfitsOf(adapter, misfits),
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

/** The errors as one finding, by the labels of the modules, or the names of whole tensors, that they are of. */
function misfitsOf(adapter: Adapter, errors: readonly LoraSvdError[]): Found[] {
  const [first] = errors
  if (first === undefined) return []
  const labels = new Map(
    adapter.modules.flatMap(({ product, label }) =>
      tensorsOf(product).map(({ name }) => [name, label] as const),
    ),
  )
  const message = first.message.slice(adapter.path.length + 2)
  return [
    {
      rule: 'base-shapes',
      message: `${message[0].toUpperCase()}${message.slice(1)}.`,
      names: errors.flatMap(({ tensor }) => (tensor === undefined ? [] : (labels.get(tensor) ?? tensor))),
    },
  ]
}
