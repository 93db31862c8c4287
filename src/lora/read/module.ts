import { elementCount } from '../../checkpoint/read.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { quoted, shapeText } from '../../text/quote.ts'
import { type AdapterFormat, type AdapterModule, type TargetModule, tensorsOf } from '../model.ts'
import { isFactor, isLycoris, type Role } from '../names.ts'
import type { AlphaZero } from './alpha.ts'
import { lycorisProduct } from './lycoris.ts'
import { moduleRule, parameterStack } from './peft.ts'
import { loraScale, type PeftConfig } from './peft-config.ts'
import { assertFloat, refusal } from './refusal.ts'

/** The tensors of one module, as found. */
export interface ModuleParts {
  readonly prefix: string
  readonly module: string
  readonly tensors: ReadonlyMap<Role, StoredTensor>
}

export interface ModuleContext {
  readonly path: string
  readonly format: AdapterFormat
  readonly config: PeftConfig | undefined
  readonly storedAlpha: number | undefined
  /** The user's. */
  readonly alpha: number | undefined
  readonly alphaZero: AlphaZero | undefined
}

/** One module from its tensors, checked. Throws `bad-input` naming both where the two factors don't fit, or one is missing. */
export function buildModule(parts: ModuleParts, context: ModuleContext): AdapterModule {
  const lycoris = [...parts.tensors].find(([role]) => isLycoris(role))
  if (lycoris === undefined) return loraModule(parts, context)
  const other = [...parts.tensors].find(([role]) => isFactor(role) && !isLycoris(role))
  if (other !== undefined) {
    throw misfit(
      context,
      [other[1], lycoris[1]],
      'are of one module: it is one kind of product or another',
      'duplicate-module',
    )
  }
  return lycorisModule(parts, context)
}

function loraModule(parts: ModuleParts, context: ModuleContext): AdapterModule {
  const { module, tensors } = parts
  const { config } = context
  const mid = tensors.get('mid')
  const embedding = tensors.get('embedding A') ?? tensors.get('embedding B')
  const isEmbedding = embedding !== undefined
  const linear = tensors.get('A') ?? tensors.get('B')
  if (isEmbedding && linear !== undefined) {
    throw misfit(
      context,
      [linear, embedding],
      'are of one module: it is either an embedding or not',
      'duplicate-module',
    )
  }
  const A = tensors.get(isEmbedding ? 'embedding A' : 'A')
  const B = tensors.get(isEmbedding ? 'embedding B' : 'B')
  if (A === undefined || B === undefined) throw halfPair(context, module, (A ?? B)!, A === undefined)
  const rows = checkedRows(context, A, B, mid, isEmbedding)
  const stack = config === undefined || isEmbedding ? undefined : parameterStack(config, module, rows)
  if (stack !== undefined && 'problem' in stack) throw misfit(context, [A], stack.problem)
  const configured = config === undefined ? undefined : (stack ?? moduleRule(config, module))
  const rank = configured?.rank ?? rows
  const count = stack === undefined ? 1 : rows / rank
  if (count === 1 && configured !== undefined && rank !== rows) {
    if (isSwapped(A, B) && A.shape[1] === rank) throw swapped(context, A, B)
    throw misfit(
      context,
      [A],
      `has ${rows} rows, the config says rank ${rank}: PEFT refuses to load that; correct r or rank_pattern`,
      'config-rank',
    )
  }
  const kernel = (mid ?? A).shape.slice(2)
  const [out] = B.shape
  const columns = kernel.reduce((product, n) => product * n, A.shape[1])
  return {
    ...formOf(isEmbedding, count, [out, A.shape[1]], kernel, config),
    ...namesOf(parts),
    ...(stack?.tensor !== undefined && { tensor: stack.tensor }),
    product: { kind: 'lora', A, B, ...(mid !== undefined && { mid }) },
    productShape: [out, columns],
    kernel,
    rank,
    dim: rank,
    ...scaleOf(context, rank, configured?.alpha),
    ...sidesOf(parts),
  }
}

/** A LoHa or LoKr, under LyCORIS' rules for alpha or, where there is a config, PEFT's. */
function lycorisModule(parts: ModuleParts, context: ModuleContext): AdapterModule {
  const { config } = context
  const found = lycorisProduct(parts.tensors, (tensors, problem) => misfit(context, tensors, problem))
  const { out, columns, kernel, rank, dim, product } = found
  const configured = config === undefined ? undefined : moduleRule(config, parts.module)
  if (configured !== undefined && dim !== undefined && dim !== configured.rank) {
    throw misfit(
      context,
      [tensorsOf(product)[0]],
      `is of rank ${dim}, the config says rank ${configured.rank}: PEFT refuses to load that; correct r or rank_pattern`,
      'config-rank',
    )
  }
  const divisor = configured?.rank ?? dim
  return {
    ...formOf(false, 1, [out, columns / sizeOf(kernel)], kernel, config),
    ...namesOf(parts),
    product,
    productShape: [out, columns],
    kernel,
    rank,
    dim: divisor ?? rank,
    // LyCORIS heeds no alpha where both sides of a Kronecker product are whole (modules/lokr.py), PEFT does (tuners/lokr/layer.py)
    ...(divisor === undefined ? { scale: 1 } : scaleOf(context, divisor, configured?.alpha)),
    ...sidesOf(parts),
  }
}

const namesOf = ({ module, prefix }: ModuleParts) => ({
  path: module,
  prefix,
  label: module,
  tensor: `${module}.weight`,
})

/** alpha as the config, the file or the user gives it, and the scale that follows. */
function scaleOf(context: ModuleContext, dim: number, configured?: number) {
  const { config, storedAlpha, alpha: given, alphaZero } = context
  const zero = alphaZero === 'off' ? 0 : alphaZero === 'rank' ? dim : (given ?? dim)
  const alpha = configured ?? (storedAlpha === 0 ? zero : storedAlpha) ?? given
  return {
    scale: alpha === undefined ? 1 : loraScale(alpha, dim, config?.useRslora ?? false),
    ...(alpha !== undefined && { alpha }),
    ...(storedAlpha !== undefined && { storedAlpha }),
  }
}

function sidesOf({ tensors }: ModuleParts): Pick<AdapterModule, 'bias' | 'magnitude'> {
  const [bias, magnitude] = [tensors.get('bias'), tensors.get('magnitude')]
  return { ...(bias !== undefined && { bias }), ...(magnitude !== undefined && { magnitude }) }
}

const sizeOf = (kernel: readonly number[]) => kernel.reduce((product, n) => product * n, 1)

/**
 * What the factors alone tell of the weight. Of a linear module under a config with fan_in_fan_out only the base's weight, once
 * matched, tells whether it is one: it is taken for a Conv1D until then, as the config says.
 */
function formOf(
  isEmbedding: boolean,
  experts: number,
  [out, features]: readonly [out: number, features: number],
  kernel: readonly number[],
  config: PeftConfig | undefined,
): Omit<TargetModule, 'tensor' | 'path'> {
  if (experts > 1) {
    const shape = [experts, out, features]
    return { kind: 'experts', shape, rows: out, columns: features, experts, isTransposed: false }
  }
  if (!isEmbedding && kernel.length > 0) {
    const columns = features * sizeOf(kernel)
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
    assertFloat(context.path, tensor)
    if (tensor.shape.length < 2 || tensor.shape.length > 5 || elementCount(tensor) === 0) {
      throw misfit(
        context,
        [tensor],
        `has the shape ${shapeText(tensor.shape)}; a factor has 2 to 5 dimensions, none of them 0`,
      )
    }
    if (isEmbedding && tensor.shape.length !== 2) {
      throw misfit(
        context,
        [tensor],
        `has the shape ${shapeText(tensor.shape)}; an embedding's factor has 2 dimensions`,
      )
    }
  }
  const [rows] = A.shape
  const shapes = `of the shapes ${shapeText(A.shape)} and ${shapeText(B.shape)}`
  if (B.shape.slice(2).some((n) => n !== 1))
    throw misfit(context, [A, B], `${shapes} are no pair: B's kernel has to be 1`)
  if (B.shape[1] !== rows && isSwapped(A, B)) throw swapped(context, A, B)
  if (B.shape[1] !== rows) {
    const isGrouped = A.shape.length > 2 && rows % B.shape[1] === 0
    throw misfit(
      context,
      [A, B],
      isGrouped
        ? `${shapes} are of a grouped convolution, which is not read`
        : `${shapes} are no pair: B needs as many columns as A has rows`,
      isGrouped ? 'grouped-convolution' : 'factor-shapes',
    )
  }
  if (mid !== undefined) {
    const isCore = mid.shape[0] === rows && mid.shape[1] === rows && A.shape.slice(2).every((n) => n === 1)
    if (!isCore || mid.shape.length < 3) {
      throw misfit(
        context,
        [A, mid],
        `of the shapes ${shapeText(A.shape)} and ${shapeText(mid.shape)} don't fit: the core of rank ${rows} is [${rows}, ${rows}, …kernel] beside a kernel of 1`,
      )
    }
  }
  return rows
}

/** A [in, r] and B [r, out], or each under the other's name: a pair the other way round. */
export const isSwapped = (
  { shape: A }: Pick<StoredTensor, 'shape'>,
  { shape: B }: Pick<StoredTensor, 'shape'>,
): boolean => A.length === 2 && B.length === 2 && A[1] === B[0] && A[0] > A[1] && B[1] > B[0]

const swapped = (context: ModuleContext, A: StoredTensor, B: StoredTensor) =>
  misfit(
    context,
    [A, B],
    `of the shapes ${shapeText(A.shape)} and ${shapeText(B.shape)} lie the other way round: A is [rank, in], and B [out, rank]`,
    'swapped-factors',
  )

function halfPair({ path }: ModuleContext, module: string, found: StoredTensor, isAMissing: boolean) {
  const [missing, other] = isAMissing ? ['A (down)', 'B (up)'] : ['B (up)', 'A (down)']
  return badInput(
    `${path}: module ${quoted(module)} has the factor ${other} in ${quoted(found.name)}, but no ${missing}: the file is incomplete`,
    { file: path, tensor: found.name, rule: 'half-pair' },
  )
}

const misfit = (
  { path }: ModuleContext,
  tensors: readonly StoredTensor[],
  problem: string,
  rule = 'factor-shapes',
) => refusal(path, tensors, problem, rule)
