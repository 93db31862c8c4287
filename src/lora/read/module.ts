import { elementCount } from '../../checkpoint/read.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { quoted, shapeText } from '../../text/quote.ts'
import type { AdapterFormat, AdapterModule, TargetModule } from '../model.ts'
import { moduleRule, parameterStack } from './peft.ts'
import { loraScale, type PeftConfig } from './peft-config.ts'

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
  const stack = config === undefined || isEmbedding ? undefined : parameterStack(config, module, rows)
  if (stack !== undefined && 'problem' in stack) throw refusal(context, [A], stack.problem)
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
  return {
    ...formOf(isEmbedding, count, A, B, mid, config),
    path: module,
    prefix,
    label: module,
    tensor: stack?.tensor ?? `${module}.weight`,
    A,
    B,
    rank,
    scale: alpha === undefined ? 1 : loraScale(alpha, rank, config?.useRslora ?? false),
    ...(mid === undefined ? {} : { mid }),
    ...(alpha === undefined ? {} : { alpha }),
    ...(storedAlpha === undefined ? {} : { storedAlpha }),
    ...(bias === undefined ? {} : { bias }),
    ...(magnitude === undefined ? {} : { magnitude }),
  }
}

/**
 * What the factors alone tell of the weight. Of a linear module under a config with fan_in_fan_out only the base's weight, once
 * matched, tells whether it is one: it is taken for a Conv1D until then, as the config says.
 */
function formOf(
  isEmbedding: boolean,
  experts: number,
  A: StoredTensor,
  B: StoredTensor,
  mid: StoredTensor | undefined,
  config: PeftConfig | undefined,
): Omit<TargetModule, 'tensor' | 'path'> {
  const [out] = B.shape
  const [, features] = A.shape
  const kernel = (mid ?? A).shape.slice(2)
  if (experts > 1) {
    const shape = [experts, out, features]
    return { kind: 'experts', shape, rows: out, columns: features, experts, isTransposed: false }
  }
  if (!isEmbedding && (A.shape.length > 2 || mid !== undefined)) {
    const columns = kernel.reduce((product, n) => product * n, features)
    const shape = [out, features, ...kernel]
    return { kind: 'convolution', shape, rows: out, columns, experts: 1, isTransposed: false }
  }
  const isTransposed = isEmbedding || config?.fanInFanOut === true
  const kind = isEmbedding ? 'embedding' : isTransposed ? 'conv1d' : 'linear'
  const [rows, columns] = isTransposed ? [features, out] : [out, features]
  return { kind, shape: [rows, columns], rows, columns, experts: 1, isTransposed }
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
