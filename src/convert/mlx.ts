import type { DraftedPair } from './pairs.ts'
import type { Change, Dropped } from './target.ts'

/**
 * mlx-lm puts an adapter beside a model's layers by their names, which it has from transformers (ml-explore/mlx-lm: mlx_lm/tuner/utils.py,
 * load_adapters and linear_to_lora_layers; mlx_lm/tuner/lora.py @2025): `lora_a` [in, r] and `lora_b` [r, out], in adapters.safetensors.
 */
export const MLX_FILE = 'adapters.safetensors'

/** Modules of language models whose names are the same there: mlx-lm keeps those of transformers' Llama and its kin. */
const IN_LAYERS = /^((?:language_model\.)?model\.layers)\.\d+\.((?:self_attn|mlp)\.\w+)$/
const OUTSIDE = /^(?:language_model\.)?(?:model\.embed_tokens|lm_head)$/

/** The pairs of an adapter for mlx-lm. `pathOf` gives the module's path as transformers has it. */
export function mlxPairs(
  changes: readonly Change[],
  pathOf: (change: Change) => string,
): { drafts: DraftedPair[]; dropped: Dropped[] } {
  const drafts: DraftedPair[] = []
  const dropped: Dropped[] = []
  for (const change of changes) {
    const { label, kind, rows, columns, isTransposed } = change.module
    const path = pathOf(change)
    const reason = refusal(change, path)
    if (reason !== undefined) {
      dropped.push({ name: label, reason })
      continue
    }
    // an embedding's lora_a is [rows of the table, r], as the weight lies
    const isTurned = kind !== 'embedding' && isTransposed
    drafts.push({
      module: path,
      names: { A: `${path}.lora_a`, B: `${path}.lora_b` },
      change,
      ...(kind === 'embedding'
        ? { rows: columns, columns: rows, isTransposed: true }
        : { rows: isTurned ? columns : rows, columns: isTurned ? rows : columns, isTransposed: isTurned }),
      orientation: 'turned',
      gaps: [],
    })
  }
  return { drafts, dropped }
}

function refusal({ module: { kind }, expert }: Change, path: string): string | undefined {
  if (expert !== undefined || /\.experts\./.test(path))
    return 'is of experts, which MLX stacks under other names'
  if (kind === 'convolution') return 'is a convolution, for which mlx-lm has no LoRA'
  if (IN_LAYERS.test(path) || OUTSIDE.test(path)) return undefined
  return 'is no module that mlx-lm is known to name so'
}

/** adapter_config.json: one rank and the scale 1, which the factors have in them already. */
export function mlxConfig(drafts: readonly DraftedPair[], r: number): string {
  const keys = new Set(drafts.map(({ module }) => IN_LAYERS.exec(module)?.[2] ?? module))
  const config = {
    fine_tune_type: drafts.some(({ change }) => change.module.magnitude !== undefined) ? 'dora' : 'lora',
    // mlx-lm takes all layers where this is no count above 0
    num_layers: -1,
    lora_parameters: { rank: r, scale: 1, dropout: 0, keys: [...keys].sort() },
  }
  return `${JSON.stringify(config, null, 2)}\n`
}
