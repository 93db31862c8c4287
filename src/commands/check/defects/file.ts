import { type Adapter, type AdapterModule, tensorsOf } from '../../../lora/model.ts'
import { isSwapped } from '../../../lora/read/module.ts'
import { COPY_OF_BASE } from '../../../lora/read/peft.ts'
import type { CheckSettings } from '../options.ts'
import type { Found } from '../rules.ts'

/** Defects that names and shapes tell, whatever the base. */
export function fileDefects(
  adapter: Adapter,
  { maxRank, hasBrokenConfig }: Pick<CheckSettings, 'maxRank'> & { readonly hasBrokenConfig: boolean },
): Found[] {
  return [
    ...emptiness(adapter),
    ...ggufNames(adapter),
    ...(hasBrokenConfig ? [] : scales(adapter)),
    ...ranks(adapter, maxRank),
    ...factorsAndDiffs(adapter),
    ...magnitudes(adapter),
    ...others(adapter),
    ...dtypes(adapter),
  ]
}

const labels = (modules: readonly AdapterModule[]) => modules.map(({ label }) => label)

/** A finding of these modules, where there are any. */
const of = (rule: Found['rule'], modules: readonly AdapterModule[], message?: string): Found[] =>
  modules.length === 0 ? [] : [{ rule, names: labels(modules), ...(message !== undefined && { message }) }]

const emptiness = ({ modules, replaced, ignored }: Adapter): Found[] =>
  modules.length > 0 || replaced.length > 0
    ? []
    : [
        {
          rule: 'no-factors',
          ...(ignored.length > 0 && { names: ignored.map(({ name }) => name) }),
        },
      ]

/** A block's module by llama.cpp's name. */
const OF_GGUF = /^blk\.\d+\./

const ggufNames = ({ format, modules }: Adapter): Found[] =>
  format === 'peft'
    ? of(
        'names-of-gguf',
        modules.filter(({ path }) => OF_GGUF.test(path)),
      )
    : []

function scales({ format, config, modules }: Adapter): Found[] {
  const withAlpha = modules.filter(({ storedAlpha }) => storedAlpha !== undefined)
  const without = modules.filter(
    ({ storedAlpha, product }) => storedAlpha === undefined && product.kind === 'lora',
  )
  if (format === 'peft' && config === undefined && modules.length > 0) {
    const unscaled = modules.filter(({ alpha }) => alpha === undefined)
    return [{ rule: 'config-missing' }, ...of('unknown-scale', unscaled)]
  }
  // of diffusers' own and of ComfyUI's lora_A files none has an alpha: that is their rank
  if (format === 'gguf' || config !== undefined || withAlpha.length === 0) return []
  return of('alpha-in-some', without)
}

function ranks({ modules, config }: Adapter, maxRank: number | undefined): Found[] {
  const plain = modules.filter(({ product }) => product.kind === 'lora')
  const tooHigh = maxRank === undefined ? [] : plain.filter(({ rank }) => rank > maxRank)
  const most = tooHigh.reduce((rank, module) => Math.max(rank, module.rank), 0)
  // a config says the rank, and other factors are refused when they are read
  const swapped = config === undefined ? swappedAmong(plain) : []
  const turned = new Set(swapped)
  const wasteful = plain.filter(
    (module) => !turned.has(module) && module.rank > Math.min(...module.productShape),
  )
  const [first] = wasteful
  return [
    ...of('rank-above-limit', tooHigh, `The rank ${most} is above ${maxRank}.`),
    ...of('swapped-factors', swapped),
    ...of(
      'rank-above-size',
      wasteful,
      first && `The rank ${first.rank} is above the smaller side of ${first.productShape.join(' × ')}.`,
    ),
  ]
}

/** Those that lie the other way round, unless the other modules have the rank that they have as they lie, and not the other. */
function swappedAmong(modules: readonly AdapterModule[]): AdapterModule[] {
  const ranks = new Set(modules.filter((module) => !mayBeTurned(module)).map(({ rank }) => rank))
  const isOfAnotherRank = ({ product, rank }: AdapterModule) =>
    product.kind === 'lora' && ranks.has(rank) && !ranks.has(product.A.shape[1])
  return modules.filter((module) => mayBeTurned(module) && !isOfAnotherRank(module))
}

/** Factors that fit each other also if they lie the other way round: those of a square weight do. */
const mayBeTurned = ({ product, kind }: AdapterModule) =>
  product.kind === 'lora' &&
  !product.isTurned &&
  kind !== 'embedding' &&
  kind !== 'experts' &&
  isSwapped(product.A, product.B)

function factorsAndDiffs({ format, modules, replaced }: Adapter): Found[] {
  if (format === 'peft' || format === 'gguf') return []
  const whole = new Set(replaced.map(({ prefix, name }) => prefix + name))
  return of(
    'factors-and-diff',
    modules.filter(({ prefix, path }) => whole.has(`${prefix}${path}.weight`)),
  )
}

function magnitudes({ modules }: Adapter): Found[] {
  const isOfKohya = ({ magnitude }: AdapterModule) => magnitude?.name.endsWith('.dora_scale') === true
  const flat = modules.filter((module) => isOfKohya(module) && module.magnitude!.shape.length === 1)
  const wrong = modules.filter(({ magnitude, productShape: [out, columns], kernel }) => {
    if (magnitude === undefined) return false
    const count = magnitude.shape.reduce((product, n) => product * n, 1)
    const into = columns / kernel.reduce((product, n) => product * n, 1)
    return count !== out && count !== into
  })
  return [...of('dora-scale-one-dimension', flat), ...of('dora-scale-shape', wrong)]
}

function others({ ignored, config }: Adapter): Found[] {
  const copies = ignored.filter(({ reason }) => reason === COPY_OF_BASE)
  const isOfConfig = (reason: string) => reason === 'adapter_config.json does not ask for it'
  const unread = ignored.filter(
    ({ reason }) => reason !== COPY_OF_BASE && !(config !== undefined && isOfConfig(reason)),
  )
  const [first] = unread
  return [
    ...(first === undefined
      ? []
      : [
          {
            rule: 'unread-tensor' as const,
            names: unread.map(({ name }) => name),
            message: `A tensor is read by no loader: ${first.reason}.`,
          },
        ]),
    ...(copies.length === 0
      ? []
      : [{ rule: 'copy-of-base' as const, names: copies.map(({ name }) => name) }]),
  ]
}

function dtypes({ modules }: Adapter): Found[] {
  const kinds = new Set(modules.flatMap(({ product }) => tensorsOf(product).map(({ dtype }) => dtype)))
  return kinds.size <= 1
    ? []
    : [{ rule: 'mixed-dtypes', message: `The factors are stored as ${[...kinds].join(', ')}.` }]
}
