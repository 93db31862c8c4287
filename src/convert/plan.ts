import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from '../checkpoint/folder.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { onWeights, type SharedModule, type Summand } from '../combine/modules.ts'
import { type OutputPlan, planOutput } from '../combine/output.ts'
import { commonDtype, planSum } from '../combine/plan.ts'
import { NAMES } from '../combine/spelling.ts'
import { badInput } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { diffusionFamily } from '../lora/diffusion.ts'
import { type ExpertForm, hasStacks, versionOf, withExperts } from '../lora/expert-forms.ts'
import { type Layout, layoutOf } from '../lora/families/layout.ts'
import { otherLayout } from '../lora/families/other.ts'
import type { Naming } from '../lora/families/types.ts'
import { LANGUAGE_MODEL } from '../lora/loaders/view.ts'
import type { AdapterFormat, JsonObject, TargetModule } from '../lora/model.ts'
import { takesSecondAsInput } from '../lora/stack-order.ts'
import { type ModelTraits, modelTraits, ownerOfPath, pathOf } from '../lora/traits.ts'
import { baseModelName, publicName, taskTypeOf } from '../lora/write/config.ts'
import { type AdapterLayout, factorShapes } from '../lora/write/peft.ts'
import { targetModules } from '../lora/write/targets.ts'
import { compareUtf8 } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'
import { CARD_FILE, type CardFacts, convertCard } from './card.ts'
import { doraApart, hasDora } from './differences.ts'
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
  const base = inForm(ofModel, request)
  const { settled, modules } = onWeights([source], base)
  const changes = changesOf(modules)
  refuseDora(settled[0], request.format, base)
  const isSame = source.adapter.format === request.format
  const plan =
    isSame && (base === undefined || request.format === 'peft')
      ? await samePlan(source, base, changes, request)
      : await otherPlan(settled[0], base, modules, request)
  const lost = source.adapter.ignored.map(({ name, reason }) => ({ name, reason }))
  return {
    ...plan,
    ...{ dropped: [...plan.dropped, ...lost], source, base },
    warnings: [...plan.warnings, ...mistaken(plan)],
  }
}

/** Last names of experts' projections, by which PEFT knows them wherever they are. */
const OF_EXPERTS = /\.(?:gate_proj|up_proj|down_proj|w[123])$/

/** What PEFT makes of modules beside stacks that are called like one of the experts'. */
function mistaken({ format, pairs }: FormatPlan): string[] {
  const hasStacks = format === 'peft' && pairs.some(({ stack }) => stack !== undefined)
  const other = pairs.find(({ stack, module }) => stack === undefined && OF_EXPERTS.test(module))
  if (!hasStacks || other === undefined) return []
  return [
    `PEFT up to 0.20 takes ${quoted(other.module)} for a part of the experts by its last name, and leaves it out or refuses the file (huggingface/peft#3711)`,
  ]
}

/** The base with its experts as the format has them, or as they are asked for. */
function inForm(base: Checkpoint | undefined, { format, experts }: ConvertRequest): Checkpoint | undefined {
  if (base === undefined) return undefined
  if (experts !== undefined) return withExperts(base, experts)
  // mlx-lm stacks each projection by itself, of models whose gate and up aren't in turn
  const isApart = format === 'mlx' && hasStacks(base) && !modelTraits(base.config, base.tensors).expertsInOut
  return isApart ? withExperts(base, 'separate') : base
}

const WITHOUT_BASE =
  'ComfyUI divides by the norms of the plain weight, not by those of the changed one, and gets another weight of it: its change has to be written whole, and hangs on the base; give that by --base'

/** Formats whose loaders know DoRA's magnitudes as PEFT and LyCORIS mean them. */
const WITH_MAGNITUDES: readonly AdapterFormat[] = ['peft', 'kohya', 'mlx']

function refuseDora({ adapter }: Summand, format: AdapterFormat, base: Checkpoint | undefined): void {
  const dora = adapter.modules.find(({ magnitude }) => magnitude !== undefined)
  if (dora === undefined) return
  // PEFT and mlx-lm switch DoRA on for all modules, and give those without magnitudes some of their own
  const plain =
    format === 'kohya' ? undefined : adapter.modules.find(({ magnitude }) => magnitude === undefined)
  if (WITH_MAGNITUDES.includes(format) && plain !== undefined) {
    throw badInput(
      `${adapter.path}: the module ${quoted(dora.label)} is DoRA and ${quoted(plain.label)} is not, and ${NAMES[format]} has one switch for all; apply it to the base, and extract what comes of it`,
      { file: adapter.path },
    )
  }
  if (WITH_MAGNITUDES.includes(format)) return
  if (format === 'comfyui' && base !== undefined) return
  throw badInput(
    `${adapter.path}: the module ${quoted(dora.label)} is DoRA, and ${format === 'comfyui' ? WITHOUT_BASE : `${NAMES[format]} has no place for its magnitudes; apply it to the base, and extract what comes of it as ${format}`}`,
    { file: adapter.path },
  )
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

/** A stack of experts as PEFT takes it in the form that was asked for. */
const inOrder = <T extends TargetModule>(module: T, form: ExpertForm | undefined, traits: ModelTraits): T =>
  module.kind !== 'experts' || form === undefined
    ? module
    : { ...module, isTransposed: takesSecondAsInput(versionOf(form), traits) }

/** The texts, with a config that targets what there is of the experts now, and no module that became a part of one. */
function retold(
  { texts, modules }: OutputPlan,
  form: ExpertForm,
  base: Checkpoint,
  traits: ModelTraits,
): ReadonlyMap<string, string> {
  const paths = modules.flatMap(({ summed: { module } }) => (module.kind === 'experts' ? [] : [module.path]))
  const owners = [...base.tensors.keys()].map((name) => ownerOfPath(pathOf(name, traits)))
  const text = texts.get(ADAPTER_CONFIG_FILE)!
  const restricting = ['layers_to_transform', 'layers_pattern', 'exclude_modules'].filter((key) =>
    Object.hasOwn(JSON.parse(text), key),
  )
  const config = withFields(text, {
    target_modules: targetModules(paths, owners),
    ...Object.fromEntries(restricting.map((key) => [key, null])),
    ...versionField(form),
  })
  return new Map([...texts, [ADAPTER_CONFIG_FILE, config]])
}

/** The dtype that the factors have, or that holds them all: products of two are as long as both. */
const exactDtype = (changes: readonly Change[]): FloatDtype =>
  changes.every(({ terms }) => terms.every(({ module }) => module.product.kind === 'lora'))
    ? commonDtype(changes)
    : 'f32'

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
  const pairs = settledPairs(drafts, layout)
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

/** The version of PEFT whose layout stacks of a form have, as a config tells it. */
const versionField = (form: ExpertForm | undefined): JsonObject => {
  const version = form === undefined ? undefined : versionOf(form)
  return version === undefined ? {} : { peft_version: version }
}

/** A config with some of its fields set, sorted as PEFT has them. */
function withFields(config: string, fields: JsonObject): string {
  const all = Object.entries<unknown>({ ...JSON.parse(config), ...fields })
  const sorted = Object.fromEntries(all.sort(([a], [b]) => compareUtf8(a, b)))
  return `${JSON.stringify(sorted, null, 2)}\n`
}

/** What the reader says of figures of B·A, where none are told. */
const OF_DORA = / (?:is|are) DoRA: /

const textsOf = (config: string, facts: CardFacts): ReadonlyMap<string, string> =>
  new Map([
    [ADAPTER_CONFIG_FILE, config],
    [CARD_FILE, convertCard(facts)],
  ])

function needed(base: Checkpoint | undefined, { adapter }: Summand, format: AdapterFormat): Checkpoint {
  if (base !== undefined) return base
  throw badInput(
    `${adapter.path}: what ${NAMES[format]} calls its modules can't be told from names of ${NAMES[adapter.format]} alone; give the base that it is of by --base`,
    { file: adapter.path },
  )
}

/** The layout of a diffusion model. Throws `bad-input` for other models. */
export function diffusionLayout(
  base: Checkpoint,
  { adapter }: Pick<Summand, 'adapter'>,
  format: Naming,
): Layout {
  const layout = layoutOf(base.tensors)
  if (layout !== undefined) return layout
  const isLanguage = [...base.tensors.keys()].some((name) => LANGUAGE_MODEL.test(name))
  if (!isLanguage && diffusionFamily(base.tensors, base.config) !== undefined)
    return otherLayout(base.tensors)
  throw badInput(
    `${adapter.path}: ${base.path} is no diffusion model that is known, and ${NAMES[format]} loads adapters of those alone; peft, mlx and gguf are formats for language models`,
    { file: adapter.path },
  )
}
