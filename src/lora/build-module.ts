import { elementCount } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { readableFloatOf } from '../formats/safetensors-dtype.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { configAlpha, configRank, loraScale, type PeftConfig } from './peft-config.ts'
import type { AdapterFormat, AdapterModule, ModuleLayout } from './types.ts'

/** The tensors of one module, as found. */
export interface ModuleParts {
  readonly prefix: string
  readonly module: string
  readonly A?: StoredTensor
  readonly B?: StoredTensor
  readonly embeddingA?: StoredTensor
  readonly embeddingB?: StoredTensor
  readonly mid?: StoredTensor
  readonly alpha?: StoredTensor
  readonly bias?: StoredTensor
  readonly magnitude?: StoredTensor
}

export interface ModuleContext {
  readonly path: string
  readonly format: AdapterFormat
  readonly config: PeftConfig | undefined
  readonly storedAlpha: number | undefined
  /** The user's. */
  readonly alpha: number | undefined
}

/** One module from its tensors, checked. Throws `bad-input` naming both where the two factors don't fit, or one is missing. */
export function buildModule(parts: ModuleParts, context: ModuleContext): AdapterModule {
  const { module, prefix, mid, bias, magnitude } = parts
  const { config, storedAlpha } = context
  const isEmbedding = parts.embeddingA !== undefined || parts.embeddingB !== undefined
  if (isEmbedding && (parts.A ?? parts.B) !== undefined) {
    throw refusal(
      context,
      [(parts.A ?? parts.B)!, (parts.embeddingA ?? parts.embeddingB)!],
      'are of one module: it is either an embedding or not',
    )
  }
  const A = isEmbedding ? parts.embeddingA : parts.A
  const B = isEmbedding ? parts.embeddingB : parts.B
  if (A === undefined || B === undefined) throw halfPair(context, module, (A ?? B)!, A === undefined)
  const rows = checkedRows(context, A, B, mid, isEmbedding)
  const stack = config === undefined ? undefined : parameterStack(context, module, config, A, rows)
  const configured = config === undefined ? undefined : (stack ?? moduleRule(config, module))
  const rank = configured?.rank ?? rows
  const count = stack === undefined ? 1 : rows / rank
  if (count === 1 && configured !== undefined && rank !== rows) {
    throw refusal(
      context,
      [A],
      `has ${rows} rows, the config says rank ${rank}: PEFT refuses to load that; correct r or rank_pattern`,
    )
  }
  const alpha = configured?.alpha ?? storedAlpha ?? context.alpha
  const layout = layoutOf(isEmbedding, count, A, mid, config)
  return {
    module,
    prefix,
    label: module,
    baseTensor: stack?.tensor ?? `${module}.weight`,
    A,
    B,
    rank,
    scale: alpha === undefined ? 1 : loraScale(alpha, rank, config?.useRslora ?? false),
    layout,
    ...(count === 1 ? {} : { experts: { count, isTransposed: false } }),
    ...(mid === undefined ? {} : { mid }),
    ...(alpha === undefined ? {} : { alpha }),
    ...(storedAlpha === undefined ? {} : { storedAlpha }),
    ...(bias === undefined ? {} : { bias }),
    ...(magnitude === undefined ? {} : { magnitude }),
  }
}

function layoutOf(
  isEmbedding: boolean,
  count: number,
  A: StoredTensor,
  mid: StoredTensor | undefined,
  config: PeftConfig | undefined,
): ModuleLayout {
  if (isEmbedding) return 'embedding'
  if (count > 1) return 'experts'
  if (A.shape.length > 2 || mid !== undefined) return 'conv'
  return config?.fanInFanOut ? 'unknown-transpose' : 'linear'
}

interface Rule {
  readonly rank: number
  readonly alpha: number
}

const moduleRule = (config: PeftConfig, path: string): Rule => ({
  rank: configRank(config, path),
  alpha: configAlpha(config, path),
})

/**
 * Rank and alpha of factors that target_parameters calls for: those of one parameter of the module, often a stack of
 * experts (peft/tuners/lora/layer.py, ParamWrapper). PEFT matches patterns against `module.parameter`, and wraps the
 * module once a parameter, so that names tell which parameter is meant only where there is one.
 */
function parameterStack(
  context: ModuleContext,
  module: string,
  config: PeftConfig,
  A: StoredTensor,
  rows: number,
): (Rule & { readonly tensor?: string }) | undefined {
  const owner = module.replace(/(?:\.base_layer)+$/, '')
  const parameters = config.targetParameters.flatMap((target) => {
    const dot = target.lastIndexOf('.')
    const path = target.slice(0, Math.max(0, dot))
    return path === '' || owner === path || owner.endsWith(`.${path}`) ? [target.slice(dot + 1)] : []
  })
  if (parameters.length === 0) return undefined
  const rules = parameters.map((name) => moduleRule(config, `${owner}.${name}`))
  const [rule] = rules
  if (rules.some(({ rank, alpha }) => rank !== rule.rank || alpha !== rule.alpha)) {
    throw refusal(
      context,
      [A],
      `is of one of the parameters ${parameters.join(', ')}, for which rank_pattern and alpha_pattern differ; the names don't tell which`,
    )
  }
  if (rows % rule.rank !== 0) {
    throw refusal(
      context,
      [A],
      `has ${rows} rows, no multiple of the config's rank ${rule.rank}; PEFT stores rank rows an expert`,
    )
  }
  return { ...rule, ...(parameters.length === 1 ? { tensor: `${owner}.${parameters[0]}` } : {}) }
}

/** The rows of A, once everything about the shapes and dtypes is found in order. */
function checkedRows(
  context: ModuleContext,
  A: StoredTensor,
  B: StoredTensor,
  mid: StoredTensor | undefined,
  isEmbedding: boolean,
): number {
  for (const tensor of mid === undefined ? [A, B] : [A, B, mid]) {
    if (readableFloatOf(tensor.dtype) === undefined) {
      throw refusal(context, [tensor], `is stored as ${tensor.dtype}; a factor is made of floats`)
    }
    if (tensor.shape.length < 2 || tensor.shape.length > 5 || elementCount(tensor) === 0) {
      throw refusal(
        context,
        [tensor],
        `has the shape ${shapeText(tensor.shape)}; a factor has 2 to 5 dimensions, none of them 0`,
      )
    }
    if (isEmbedding && tensor.shape.length !== 2) {
      throw refusal(
        context,
        [tensor],
        `has the shape ${shapeText(tensor.shape)}; an embedding's factor has 2 dimensions`,
      )
    }
  }
  const [rows] = A.shape
  const shapes = `of the shapes ${shapeText(A.shape)} and ${shapeText(B.shape)}`
  if (B.shape.slice(2).some((n) => n !== 1))
    throw refusal(context, [A, B], `${shapes} are no pair: B's kernel has to be 1`)
  if (B.shape[1] !== rows) {
    const isGrouped = A.shape.length > 2 && rows % B.shape[1] === 0
    throw refusal(
      context,
      [A, B],
      isGrouped
        ? `${shapes} are of a grouped convolution, which is not read`
        : `${shapes} are no pair: B needs as many columns as A has rows`,
    )
  }
  if (mid !== undefined) {
    const isCore = mid.shape[0] === rows && mid.shape[1] === rows && A.shape.slice(2).every((n) => n === 1)
    if (!isCore || mid.shape.length < 3) {
      throw refusal(
        context,
        [A, mid],
        `of the shapes ${shapeText(A.shape)} and ${shapeText(mid.shape)} don't fit: the core of rank ${rows} is [${rows}, ${rows}, …kernel] beside a kernel of 1`,
      )
    }
  }
  return rows
}

function halfPair({ path }: ModuleContext, module: string, found: StoredTensor, isAMissing: boolean) {
  const [missing, other] = isAMissing ? ['A (down)', 'B (up)'] : ['B (up)', 'A (down)']
  return badInput(
    `${path}: module ${quoted(module)} has the factor ${other} in ${quoted(found.name)}, but no ${missing}: the file is incomplete`,
    { file: path, tensor: found.name },
  )
}

function refusal({ path }: ModuleContext, tensors: readonly StoredTensor[], problem: string) {
  const names = tensors.map(({ name }) => quoted(name)).join(' and ')
  return badInput(`${path}: ${tensors.length === 1 ? 'tensor' : 'tensors'} ${names} ${problem}`, {
    file: path,
    tensor: tensors[0].name,
  })
}
