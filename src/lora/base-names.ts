import { plainName } from '../checkpoint/correspondence.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { addTo } from '../text/compare.ts'
import { FAMILIES, layoutsOf } from './families/layout.ts'
import { PREFIXES } from './families/other.ts'
import { type Finder, type Place, placesOf } from './families/places.ts'
import type { AdapterFormat } from './model.ts'
import { PEFT_PREFIX } from './names.ts'

/**
 * What a name in an adapter, and what stood before it, may stand for in the base: none, one, or several things of which one is meant.
 * Each is one tensor, or those that a fused module has its parts in.
 */
export type BaseIndex = (name: string, prefix: string) => readonly (readonly Place[])[]

/**
 * Names of the base by those of an adapter. Of a diffusion model of a known family in whatever naming and layout; else, and of names
 * that the family has no rule for, as `plainIndex` does.
 */
export function baseIndex(base: Checkpoint, format: AdapterFormat): BaseIndex {
  const finders = format === 'gguf' || format === 'mlx' ? [] : findersOf(base)
  const plain = unwrapped(plainIndex(base, format === 'kohya'), base)
  if (finders.length === 0) return (name, prefix) => plain(name, prefix).map((tensor) => [{ tensor }])
  return (name, prefix) => {
    const [, module, end] = /^(.*?)(\.weight|\.bias)?$/s.exec(name)!
    const found = new Map<string, readonly Place[]>()
    for (const find of finders) {
      const places = placesOfEnd(find(prefix + module), end === '.bias', base)
      const parts = places.every(({ moduleRows }) => moduleRows !== undefined)
        ? [places]
        : places.map((place) => [place])
      for (const one of parts) if (one.length > 0) found.set(one.map(({ tensor }) => tensor).join('\n'), one)
    }
    if (found.size > 0) return [...found.values()]
    return plain(name, prefix).map((tensor) => [{ tensor }])
  }
}

/** Of bases that many adapters are matched to. */
const known = new WeakMap<Checkpoint['tensors'], readonly Finder[]>()

/** One of each layout of the base. */
function findersOf({ tensors }: Checkpoint): readonly Finder[] {
  const finders = known.get(tensors) ?? layoutsOf(tensors).map(placesOf)
  known.set(tensors, finders)
  return finders
}

/** The places of a module's weight, or those of the biases that lie beside it. */
function placesOfEnd(places: readonly Place[], isBias: boolean, { tensors }: Checkpoint): readonly Place[] {
  if (!isBias) return places
  const biases = places.map((place) => ({ ...place, tensor: biasOf(place.tensor) }))
  return biases.every(({ tensor }) => tensors.has(tensor)) ? biases : []
}

/** What the bias beside a weight is called: `in_proj_bias` beside torch's `in_proj_weight` too. */
export const biasOf = (weight: string) => weight.replace(/weight$/, 'bias')

/** Names of base tensors by a name in an adapter. */
type NameIndex = (name: string, prefix: string) => readonly string[]

/** As an index finds names, and where it finds none without the parts that wrappers put into either side's. */
function unwrapped(find: NameIndex, base: Checkpoint): NameIndex {
  let plain: Map<string, string[]> | undefined
  const plainNames = () => {
    if (plain === undefined) {
      plain = new Map()
      for (const name of base.tensors.keys()) addTo(plain, plainName(name), name)
    }
    return plain
  }
  return (name, prefix) => {
    const names = find(name, prefix)
    if (names.length > 0) return names
    const bare = plainName(name)
    const others = bare === name ? [] : find(bare, prefix)
    return others.length > 0 ? others : (plainNames().get(bare) ?? [])
  }
}

/** What a base checkpoint may put before the names of a model, or of a denoiser that is of no known family. */
const TRUNK = [...new Set(['', ...PREFIXES, 'model.', PEFT_PREFIX])]

/** What the bases of all families put before the text encoder that adapters' names begin with `prefix` for; undefined of any other. */
function encoderPrefixes(prefix: string): readonly string[] | undefined {
  const places = FAMILIES.flatMap(({ encoders, encoderPlaces }) =>
    encoderPlaces.filter(({ id, prefix: place }) => {
      const encoder = encoders.find((one) => one.id === id)!
      const names = [encoder.kohya, ...(encoder.aliases ?? []), `${encoder.component}.`]
      return place === prefix || names.includes(prefix)
    }),
  )
  return places.length === 0 ? undefined : [...new Set(['', ...places.map((place) => place.prefix)])]
}

/**
 * Looks names up as they are, then with the prefixes that either side may have; kohya's, whose dots became underscores,
 * among the base's names with the same done to them. Last, for dotted names, without the first part on either side: a
 * model and its trunk (`bert.encoder…`, `encoder…`).
 */
function plainIndex(base: Checkpoint, isUnderscored: boolean): NameIndex {
  const names = [...base.tensors.keys()]
  const form = (name: string) => (isUnderscored ? name.replaceAll('.', '_') : name)
  const byPrefix = new Map<string, Map<string, string[]>>()
  const indexFor = (prefix: string) => {
    const known = byPrefix.get(prefix)
    if (known !== undefined) return known
    const index = new Map<string, string[]>()
    const prefixes = encoderPrefixes(prefix) ?? TRUNK
    for (const name of names) {
      for (const one of prefixes) if (name.startsWith(one)) addTo(index, form(name.slice(one.length)), name)
    }
    byPrefix.set(prefix, index)
    return index
  }
  let withoutFirst: Map<string, string[]> | undefined
  const indexWithoutFirst = () => {
    if (withoutFirst === undefined) {
      withoutFirst = new Map()
      for (const name of names) {
        const rest = afterFirst(name)
        if (rest !== undefined) addTo(withoutFirst, rest, name)
      }
    }
    return withoutFirst
  }
  return (name, prefix) => {
    if (!isUnderscored && base.tensors.has(name)) return [name]
    const index = indexFor(prefix)
    const direct = index.get(form(name))
    if (direct !== undefined || isUnderscored) return direct ?? []
    const rest = afterFirst(name)
    return (rest === undefined ? undefined : index.get(rest)) ?? indexWithoutFirst().get(name) ?? []
  }
}

/** What follows the first part of a dotted name, where that still names a module and its tensor. */
function afterFirst(name: string): string | undefined {
  const rest = name.slice(name.indexOf('.') + 1)
  return name.includes('.') && rest.includes('.') ? rest : undefined
}
