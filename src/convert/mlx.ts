import type { Checkpoint } from '../checkpoint/types.ts'
import type { DraftedPair } from './pairs.ts'
import type { Change, Dropped } from './target.ts'

/**
 * mlx-lm puts an adapter beside a model's layers by their names, which it has from transformers (ml-explore/mlx-lm: mlx_lm/tuner/utils.py,
 * load_adapters and linear_to_lora_layers; mlx_lm/tuner/lora.py @2025): `lora_a` [in, r] and `lora_b` [r, out], in adapters.safetensors.
 */
export const MLX_FILE = 'adapters.safetensors'

/** Modules of language models whose names are the same there: mlx-lm keeps those of transformers' Llama and its kin. */
const IN_LAYERS =
  /^((?:language_model\.)?model\.layers)\.\d+\.((?:self_attn|mlp|block_sparse_moe)\.(?:switch_mlp\.)?\w+)$/
const OUTSIDE = /^(?:language_model\.)?(?:model\.embed_tokens|lm_head)$/

/**
 * The projections of experts, which mlx-lm has in one module for all of a layer (mlx_lm/models/switch_layers.py, SwitchGLU; models/mixtral.py
 * and qwen3_moe.py, sanitize), with `lora_a` [experts, r, in] and `lora_b` [experts, out, r] (mlx_lm/tuner/lora.py, LoRASwitchLinear @200af25).
 */
const EXPERT =
  /^((?:language_model\.)?model\.layers\.\d+\.(?:mlp|block_sparse_moe))\.experts\.(\d+)\.(gate_proj|up_proj|down_proj|w[123])$/
const PROJECTIONS: Readonly<Record<string, string>> = { w1: 'gate_proj', w3: 'up_proj', w2: 'down_proj' }

/**
 * The pairs of an adapter for mlx-lm. `pathOf` gives the module's path as transformers has it; `base` has the experts apart, and tells how many
 * there are.
 */
export function mlxPairs(
  changes: readonly Change[],
  pathOf: (change: Change) => string,
  base: Checkpoint | undefined,
): { drafts: DraftedPair[]; dropped: Dropped[] } {
  const drafts: DraftedPair[] = []
  const dropped: Dropped[] = []
  const experts = new Map<string, Map<number, Change>>()
  for (const change of changes) {
    const path = pathOf(change)
    const [, owner, number, leaf] = EXPERT.exec(path) ?? []
    const reason = refusal(change, path, base)
    if (reason !== undefined) dropped.push({ name: change.module.label, reason })
    else if (owner === undefined) drafts.push(plainPair(change, path))
    else {
      const module = `${owner}.switch_mlp.${PROJECTIONS[leaf] ?? leaf}`
      experts.set(module, (experts.get(module) ?? new Map()).set(Number(number), change))
    }
  }
  const stacks = [...experts].map(([module, own]) => expertsPair(module, own, base!))
  return { drafts: [...drafts, ...stacks], dropped }
}

function plainPair(change: Change, path: string): DraftedPair {
  const { kind, rows, columns, isTransposed } = change.module
  // an embedding's lora_a is [rows of the table, r], as the weight lies
  const isTurned = kind !== 'embedding' && isTransposed
  return {
    module: path,
    names: { A: `${path}.lora_a`, B: `${path}.lora_b` },
    changes: [change],
    ...(kind === 'embedding'
      ? { rows: columns, columns: rows, isTransposed: true }
      : { rows: isTurned ? columns : rows, columns: isTurned ? rows : columns, isTransposed: isTurned }),
    orientation: 'turned',
    gaps: [],
  }
}

function expertsPair(module: string, own: ReadonlyMap<number, Change>, base: Checkpoint): DraftedPair {
  const [first] = own.values()
  const { rows, columns, tensor } = first.module
  const stem = /^(.*\.experts\.)\d+(\..+)$/.exec(tensor)!
  let of = 0
  while (base.tensors.has(`${stem[1]}${of}${stem[2]}`)) of++
  return {
    module,
    names: { A: `${module}.lora_a`, B: `${module}.lora_b` },
    changes: [...own.values()],
    members: { of, numbers: [...own.keys()] },
    ...{ rows, columns, isTransposed: false, orientation: 'by expert', gaps: [] },
  }
}

function refusal(
  { module: { kind, magnitude }, expert }: Change,
  path: string,
  base: Checkpoint | undefined,
): string | undefined {
  if (EXPERT.test(path)) {
    if (base === undefined)
      return 'is of experts, of which the base tells how many there are: give it by --base'
    if (magnitude !== undefined) return 'is DoRA of an expert, for which mlx-lm has none'
    return undefined
  }
  if (expert !== undefined || /\.experts(?:\.|$)/.test(path))
    return `is of experts whose names in mlx-lm are not known${base === undefined ? ': --base may tell them' : ''}`
  if (kind === 'convolution') return 'is a convolution, for which mlx-lm has no LoRA'
  if (IN_LAYERS.test(path) || OUTSIDE.test(path)) return undefined
  return 'is no module that mlx-lm is known to name so'
}

/** adapter_config.json: one rank and the scale 1, which the factors have in them already. */
export function mlxConfig(drafts: readonly DraftedPair[], r: number): string {
  const keys = new Set(drafts.map(({ module }) => IN_LAYERS.exec(module)?.[2] ?? module))
  const config = {
    fine_tune_type: drafts.some(({ changes }) => changes[0].module.magnitude !== undefined) ? 'dora' : 'lora',
    // mlx-lm takes all layers where this is no count above 0
    num_layers: -1,
    lora_parameters: { rank: r, scale: 1, dropout: 0, keys: [...keys].sort() },
  }
  return `${JSON.stringify(config, null, 2)}\n`
}
