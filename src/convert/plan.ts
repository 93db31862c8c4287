import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from '../checkpoint/folder.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { onWeights, type SharedModule, type Summand } from '../combine/modules.ts'
import { planOutput } from '../combine/output.ts'
import { commonDtype, planSum } from '../combine/plan.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { type ExpertForm, versionOf } from '../lora/expert-forms.ts'
import { layoutOf } from '../lora/families/layout.ts'
import type { AdapterFormat } from '../lora/model.ts'
import { takesSecondAsInput } from '../lora/stack-order.ts'
import { modelTraits, pathOf } from '../lora/traits.ts'
import { baseModelName, publicName, taskTypeOf } from '../lora/write/config.ts'
import { type AdapterLayout, factorShapes } from '../lora/write/peft.ts'
import { CARD_FILE, type CardFacts, convertCard } from './card.ts'
import { assertConvertible, diffusionLayout, needed, refuseEmpty } from './convertible.ts'
import { doraApart, hasDora, refuseDora, withDoraGaps } from './differences.ts'
import { inForm, inOrder, mistaken, retold, versionField, withFields } from './experts.ts'
import { ggufPlan } from './gguf.ts'
import { kohyaMetadata } from './metadata.ts'
import { MLX_FILE, mlxConfig, mlxPairs } from './mlx.ts'
import { namedPairs } from './named.ts'
import { changesOf, largestRank, settledPairs } from './pairs.ts'
import { peftPairs } from './peft.ts'
import type { Change, FormatPlan, Pair } from './target.ts'
import { crossWholes } from './wholes.ts'

export interface ConvertRequest {
  readonly format: AdapterFormat
  readonly layout: AdapterLayout
  readonly dtype: FloatDtype | undefined
  /** How a PEFT adapter is to have its experts; as the base has them where undefined. */
  readonly experts?: ExpertForm | undefined
  /** What the base is called: on the Hub, or by its folder. */
  readonly baseName: string | undefined
  /** The command that makes it, for the card. */
  readonly command: string
}

/** What becomes of an adapter in another format. */
export interface ConversionPlan extends FormatPlan {
  /** As read, in its own names. */
  readonly source: Summand
  readonly base: Checkpoint | undefined
}

/**
 * What an adapter is in another format, from headers and configs alone. Throws `bad-input` where names need a base that isn't given, and for
 * DoRA in formats that have no place for its magnitudes.
 */
export async function planConversion(
  source: Summand,
  ofModel: Checkpoint | undefined,
  request: ConvertRequest,
): Promise<ConversionPlan> {
  const base = inForm(ofModel, request.format, request.experts)
  const { settled, modules } = onWeights([source], base)
  const changes = changesOf(modules)
  refuseDora(settled[0], request.format, base)
  assertConvertible(source, base, request.format)
  const isSame = source.adapter.format === request.format && request.format !== 'mlx'
  const plan =
    isSame && (base === undefined || request.format === 'peft')
      ? await samePlan(source, base, changes, request)
      : await otherPlan(settled[0], base, modules, request)
  const lost = source.adapter.ignored.map(({ name, reason }) => ({ name, reason }))
  const dropped = [...plan.dropped, ...lost]
  refuseEmpty(plan, source, dropped)
  return {
    ...plan,
    ...{ dropped, source, base },
    warnings: [...plan.warnings, ...mistaken(plan)],
  }
}

/** The same names, with the factors and the scale as every loader takes them. */
async function samePlan(
  source: Summand,
  base: Checkpoint | undefined,
  changes: readonly Change[],
  { dtype, layout, command, experts }: ConvertRequest,
): Promise<FormatPlan> {
  const plan = await planSum([source], { base, dtype: dtype ?? exactDtype(changes) })
  const ranks = plan.layers.map(({ terms }) => terms.reduce((sum, term) => sum + term.module.rank, 0))
  const output = planOutput(plan, ranks, { layout, command, limits: {} })
  const traits = modelTraits(base?.config, base?.tensors ?? new Map())
  const pairs = output.modules.map(({ summed: { module, terms }, names, storedRank, rank }): Pair => {
    const changes = changesOf([{ module, terms }])
    const { rows, columns, isTransposed, kind, label } = module
    const stack = inOrder(module, experts, traits)
    return {
      ...{ module: label, names, changes, rank, storedRank, gaps: [], orientation: 'plain', isTransposed },
      rows: isTransposed ? columns : rows,
      columns: isTransposed ? rows : columns,
      shapes: factorShapes(stack, storedRank),
      ...(kind === 'experts' && { stack }),
    }
  })
  return {
    format: plan.format,
    pairs,
    differences: [],
    wholes: plan.kept,
    dropped: [],
    metadata: output.metadata,
    texts: base === undefined || experts === undefined ? output.texts : retold(output, experts, base, traits),
    tensorFile: plan.format === 'peft' ? ADAPTER_FILE : undefined,
    dtype: plan.dtype,
    r: output.r,
    warnings: plan.warnings,
  }
}

/** The dtype that the factors have, or that holds them all: products of two are as long as both. */
const exactDtype = (changes: readonly Change[]): FloatDtype =>
  changes.every(({ terms }) => terms.every(({ module }) => module.product.kind === 'lora'))
    ? commonDtype(changes)
    : 'f32'

/** What the reader says of figures of B·A, where none are told. */
const OF_DORA = / (?:is|are) DoRA: /

async function otherPlan(
  source: Summand,
  base: Checkpoint | undefined,
  modules: readonly SharedModule[],
  request: ConvertRequest,
): Promise<FormatPlan> {
  const { format, layout } = request
  const changes = changesOf(modules)
  const isWhole = format === 'comfyui' && modules.some(hasDora)
  const dtype = request.dtype ?? (isWhole ? 'f32' : exactDtype(changes))
  const common = { format, dtype, warnings: source.adapter.warnings, differences: [] }
  const traits = modelTraits(base?.config, base?.tensors ?? new Map())
  const path = (change: Change) =>
    base === undefined ? change.module.path : pathOf(change.module.tensor.replace(/\.weight$/, ''), traits)
  const family = base && layoutOf(base.tensors)
  // PEFT's config may hold the folder of a machine
  const named = source.adapter.config?.baseModel
  const told = {
    source: source.adapter.path,
    baseModel: baseModelName(
      request.baseName ?? (base === undefined ? named && publicName(named) : undefined),
      base?.config,
    ),
    taskType:
      taskTypeOf(base?.config, { saved: [] }, base?.tensors.keys() ?? [], traits) ??
      source.adapter.config?.taskType,
    diffusion: family?.family.name,
    command: request.command,
  }
  if (format === 'gguf') {
    const planned = ggufPlan(changes, needed(base, source, format), path, dtype)
    return { ...common, ...planned, ...crossWholes(source, format, [], planned.dropped) }
  }
  if (format === 'mlx') {
    const { drafts, dropped } = mlxPairs(changes, path, base)
    const pairs = settledPairs(drafts, 'portable')
    const r = largestRank(pairs)
    const config = mlxConfig(drafts, r)
    return {
      ...{ ...common, pairs, r, metadata: { format: 'mlx' }, tensorFile: MLX_FILE },
      texts: textsOf(config, { ...told, format, fileName: MLX_FILE, r, warnings: common.warnings }),
      ...crossWholes(source, format, pairs, dropped),
    }
  }
  if (format === 'peft') {
    const { baseModel, taskType } = told
    const { experts } = request
    const expertsInOut =
      experts === undefined ? traits.expertsInOut : takesSecondAsInput(versionOf(experts), traits)
    const model = { base, layout: family, traits: { ...traits, expertsInOut }, baseModel, taskType }
    const { plan, pairs, dropped, config } = peftPairs(changes, model, layout, dtype)
    // what servers of language models refuse tells nobody who makes pictures anything
    const warnings = [...common.warnings, ...(family === undefined ? plan.warnings : [])]
    return {
      ...{ ...common, pairs, r: plan.r, metadata: { format: 'pt' }, tensorFile: ADAPTER_FILE },
      texts: textsOf(withFields(config, versionField(experts)), {
        ...{ ...told, format, fileName: ADAPTER_FILE, r: plan.r, warnings },
      }),
      ...crossWholes(source, format, pairs, dropped),
      warnings,
    }
  }
  const model = needed(base, source, format)
  const known = diffusionLayout(model, source, format)
  const apart = isWhole ? doraApart(source, modules, model, known) : undefined
  const rest = apart?.rest ?? source
  const { drafts, dropped, warnings } = namedPairs(rest, known, format)
  const pairs = settledPairs(drafts.map(withDoraGaps), layout)
  const r = largestRank(pairs)
  const isDora = changes.some(({ module }) => module.magnitude !== undefined)
  const others = crossWholes(rest, format, pairs, [...(apart?.dropped ?? []), ...dropped], known)
  return {
    ...{ ...common, pairs, r, texts: new Map(), tensorFile: undefined },
    differences: apart?.differences ?? [],
    metadata:
      format === 'kohya'
        ? kohyaMetadata(known, layout === 'portable' ? r : undefined, isDora)
        : { format: 'pt' },
    ...others,
    wholes: [...others.wholes, ...(apart?.biases ?? [])],
    warnings: [
      ...common.warnings.filter((line) => apart === undefined || !OF_DORA.test(line)),
      ...warnings,
      ...(apart?.warnings ?? []),
    ],
  }
}

const textsOf = (config: string, facts: CardFacts): ReadonlyMap<string, string> =>
  new Map([
    [ADAPTER_CONFIG_FILE, config],
    [CARD_FILE, convertCard(facts)],
  ])
