import { join } from 'node:path'
import { ADAPTER_CONFIG_FILE } from '../../checkpoint/folder.ts'
import { partOf } from '../../checkpoint/matrices.ts'
import { elementCount } from '../../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import { badInput, tolerating } from '../../errors.ts'
import { counted, quoted, shapeText } from '../../text/quote.ts'
import { isEmbeddingName } from '../kinds.ts'
import type { Adapter, AdapterModule, IgnoredTensor } from '../model.ts'
import { leafOfPath } from '../traits.ts'
import type { AdapterOptions } from './adapter.ts'
import { isMlxConfig, type MlxConfig, mlxTargets, parseMlxConfig } from './mlx-config.ts'
import { loraScale } from './peft-config.ts'
import { assertFloat, refusal } from './refusal.ts'

/**
 * An adapter of MLX (ml-explore/mlx-lm@2026-08-22: mlx_lm/tuner/lora.py, dora.py). Of a linear layer `lora_a` is [in, r] and `lora_b`
 * [r, out], W + scale·(lora_a·lora_b)ᵀ; of an embedding [vocabulary, r] and [r, dim], W + scale·lora_a·lora_b; of a layer of experts (`switch_mlp`)
 * [experts, r, in] and [experts, out, r], W + scale·lora_b·lora_a, where lora_a was [experts·r, in] before October 2025 (@0edd0a0c). DoRA's
 * magnitudes are `m` [out], as PEFT's. Paths are those of the model on the Hub, but for experts, which MLX stacks.
 */

const PART = /^(.+)\.(lora_a|lora_b|m)$/

/** What MLX's trainers multiply by where nobody says otherwise (mlx-lm: mlx_lm/lora.py; mlx-examples@2025-11-20: lora/models.py). */
const DEFAULT_SCALE = 20

/** What mlx_lm calls the experts' layers, by what Mixtral and Phi-MoE do (mlx_lm/models/mixtral.py, phimoe.py, sanitize). */
const NUMBERED = { gate_proj: 'w1', down_proj: 'w2', up_proj: 'w3' } as const

type Part = 'lora_a' | 'lora_b' | 'm'
type Parts = Readonly<Partial<Record<Part, StoredTensor>>>

/** Whether factors lie as MLX stores them, by their names or their config. */
export const isMlx = ({ adapterConfig, tensors }: Checkpoint): boolean =>
  (adapterConfig !== undefined && isMlxConfig(adapterConfig)) || isOfFactorsAlone(tensors)

/** A model may have low-rank branches of its own, beside its weights. */
function isOfFactorsAlone(tensors: ReadonlyMap<string, unknown>): boolean {
  const stems = [...tensors.keys()].flatMap((name) => (/^(.+)\.lora_[ab]$/.exec(name) ?? []).slice(1))
  return stems.length > 0 && !stems.some((stem) => tensors.has(`${stem}.weight`))
}

/**
 * The adapter of a checkpoint that `isMlx`. Throws `bad-input`, naming file and tensors, on a full fine-tune, half a pair, factors that
 * don't fit each other or the config's rank, and on a config that two versions of MLX read in two ways where that has to be known.
 */
export function mlxAdapterOf(checkpoint: Checkpoint, options: AdapterOptions): Adapter {
  const { path, tensors, adapterConfig, folder } = checkpoint
  const file = folder === undefined ? `${path} (${ADAPTER_CONFIG_FILE})` : join(folder, ADAPTER_CONFIG_FILE)
  const config = adapterConfig === undefined ? undefined : parseMlxConfig(adapterConfig, file)
  const warnings: string[] = []
  const ignored: IgnoredTensor[] = []
  const parts = new Map<string, Parts>()
  for (const tensor of tensors.values()) {
    const [, stem, part] = PART.exec(tensor.name) ?? []
    if (stem === undefined) ignored.push({ name: tensor.name, reason: 'no part of LoRA' })
    else parts.set(stem, { ...parts.get(stem), [part]: tensor })
  }
  const isUnread = config !== undefined && config.scale === undefined && options.alpha === undefined
  if (isUnread) {
    const problem = twoReadings(file, config.readings!)
    if (options.isStrict) throw badInput(problem, { file })
    warnings.push(`${problem}; ${config.readings!.new} is taken`)
  }
  if (config === undefined && options.alpha === undefined) {
    warnings.push(
      `the scale is UNKNOWN: there is no ${ADAPTER_CONFIG_FILE}; ${DEFAULT_SCALE}, the default of MLX's trainers, is taken, which may be far off: give alpha`,
    )
  }
  const modules = [...parts].flatMap(
    ([stem, found]) =>
      tolerating(options.onDefect, () => modulesOf(path, stem, found, { config, options })) ?? [],
  )
  tolerating(options.onDefect, () => assertRanks(file, modules, config))
  if (modules.length === 0 && options.onDefect === undefined)
    throw badInput(`${path}: holds no LoRA tensors`, { file: path })
  const dora = modules.filter(({ magnitude }) => magnitude !== undefined).length
  if (dora > 0) {
    warnings.push(
      `${counted(dora, 'module')} ${dora === 1 ? 'is' : 'are'} DoRA: each row of W + scale·B·A is rescaled, and the figures of B·A leave that out`,
    )
  }
  if (ignored.length > 0) {
    const more = ignored.length > 1 ? `, and ${ignored.length - 1} more` : ''
    warnings.push(`tensor ${quoted(ignored[0].name)} is left out: ${ignored[0].reason}${more}`)
  }
  return {
    ...{ format: 'mlx', path },
    ...(adapterConfig !== undefined && { mlx: mlxTargets(adapterConfig) }),
    ...{ modules, replaced: [], ignored, warnings },
  }
}

const twoReadings = (file: string, { rank, alpha, old, new: now }: NonNullable<MlxConfig['readings']>) =>
  `${file}: lora_parameters has an alpha of ${alpha}, which MLX up to June 2024 multiplied into the scale, ${old}, and later ones pass over, ${now}: say which with --alpha ${old * rank} or --alpha ${now * rank}`

interface Told {
  readonly config: MlxConfig | undefined
  readonly options: AdapterOptions
}

function scaleOf({ config, options: { alpha } }: Told, rank: number): { scale: number; alpha?: number } {
  if (config?.scale !== undefined) return { scale: config.scale }
  if (alpha !== undefined) return { scale: loraScale(alpha, rank, false), alpha }
  return { scale: config?.readings?.new ?? DEFAULT_SCALE }
}

function modulesOf(path: string, stem: string, parts: Parts, told: Told): AdapterModule[] {
  const { lora_a: a, lora_b: b, m } = parts
  if (a === undefined || b === undefined) throw halfPair(path, stem, (a ?? b ?? m)!)
  for (const tensor of [a, b]) {
    assertFloat(path, tensor)
    if (elementCount(tensor) === 0) throw misfit(path, a, b)
  }
  if (b.shape.length === 3) return expertsOf(path, stem, a, b, told)
  if (isSwapped(a, b, told.config?.rank)) {
    const problem = 'lie the other way round: lora_a is [in, r] and lora_b [r, out]'
    throw refusal(path, [a, b], problem, 'swapped-factors')
  }
  const [inputs, rank] = a.shape
  const [other, outputs] = b.shape
  if (a.shape.length !== 2 || b.shape.length !== 2 || rank !== other) throw misfit(path, a, b)
  const isEmbedding = isEmbeddingName(leafOfPath(stem))
  if (isEmbedding && m !== undefined) {
    throw refusal(
      path,
      [m],
      "is DoRA's of an embedding, with a magnitude a row of the table, where PEFT has one a column; that is not read",
    )
  }
  const [rows, columns] = isEmbedding ? [inputs, outputs] : [outputs, inputs]
  return [
    {
      ...{ path: stem, label: stem, prefix: '', tensor: `${stem}.weight` },
      ...{ kind: isEmbedding ? 'embedding' : 'linear', isTransposed: isEmbedding },
      ...{ shape: [rows, columns], rows, columns, experts: 1, kernel: [] },
      ...{ product: { kind: 'lora', A: a, B: b, isTurned: true }, productShape: [outputs, inputs] },
      ...{ rank, dim: rank, ...scaleOf(told, rank) },
      ...(m !== undefined && { magnitude: m }),
    },
  ]
}

/** One module of each expert, as the Hub's checkpoints have them. */
function expertsOf(
  path: string,
  stem: string,
  a: StoredTensor,
  b: StoredTensor,
  told: Told,
): AdapterModule[] {
  const [experts, rows, rank] = b.shape
  const columns = a.shape.at(-1)!
  const isPair =
    a.shape.length === 3 ? a.shape[0] === experts && a.shape[1] === rank : a.shape[0] === experts * rank
  const isCut = [a, b].every(({ source }) => source.kind === 'range' || source.kind === 'bytes')
  if (!isPair || a.shape.length < 2 || !isCut) throw misfit(path, a, b)
  return Array.from({ length: experts }, (_, e): AdapterModule => {
    const own = expertPath(stem, e)
    return {
      ...{ path: own, label: own, prefix: '', tensor: `${own}.weight` },
      ...{
        kind: 'linear',
        isTransposed: false,
        shape: [rows, columns],
        rows,
        columns,
        experts: 1,
        kernel: [],
      },
      product: {
        kind: 'lora',
        A: expertPart(a, e, experts, [rank, columns]),
        B: expertPart(b, e, experts, [rows, rank]),
      },
      ...{ productShape: [rows, columns], rank, dim: rank, ...scaleOf(told, rank) },
    }
  })
}

/** `mlp.switch_mlp.gate_proj` is the stack of `mlp.experts.E.gate_proj`, in Mixtral's block of `…experts.E.w1`. */
function expertPath(stem: string, expert: number): string {
  const leaf = leafOfPath(stem)
  const owner = stem.slice(0, -leaf.length - 1).replace(/\.(?:switch_mlp|experts)$/, '')
  const isNumbered = owner.endsWith('block_sparse_moe') && Object.hasOwn(NUMBERED, leaf)
  return `${owner}.experts.${expert}.${isNumbered ? NUMBERED[leaf as keyof typeof NUMBERED] : leaf}`
}

function expertPart(
  tensor: StoredTensor,
  expert: number,
  experts: number,
  shape: readonly number[],
): StoredTensor {
  const bytes = tensor.bytes / experts
  const source = partOf(tensor.source, expert * bytes, (expert + 1) * bytes)
  return { ...tensor, name: `${tensor.name}[${expert}]`, shape, bytes, source }
}

/** Factors that lie as PEFT's do, by the rank that the config says. */
const isSwapped = (a: StoredTensor, b: StoredTensor, rank: number | undefined) =>
  rank !== undefined &&
  a.shape.length === 2 &&
  b.shape.length === 2 &&
  a.shape[0] === rank &&
  b.shape[1] === rank &&
  !(a.shape[1] === rank && b.shape[0] === rank)

function assertRanks(file: string, modules: readonly AdapterModule[], config: MlxConfig | undefined): void {
  const wrong = modules.find(({ rank }) => config?.rank !== undefined && rank !== config.rank)
  if (wrong === undefined) return
  throw badInput(
    `${file}: module ${quoted(wrong.label)} is of rank ${wrong.rank}, and lora_parameters.rank says ${config!.rank}; correct the config`,
    { file, rule: 'config-rank' },
  )
}

const halfPair = (path: string, module: string, { name }: StoredTensor) =>
  badInput(
    `${path}: module ${quoted(module)} has ${quoted(name)}, and not both of lora_a and lora_b: the file is incomplete`,
    { file: path, tensor: name, rule: 'half-pair' },
  )

const misfit = (path: string, a: StoredTensor, b: StoredTensor) =>
  refusal(
    path,
    [a, b],
    `of the shapes ${shapeText(a.shape)} and ${shapeText(b.shape)} are no pair: [in, r] and [r, out] are, or of experts [experts, r, in] and [experts, out, r]`,
    'factor-shapes',
  )
