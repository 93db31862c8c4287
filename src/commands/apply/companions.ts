import { type FoundFile, filesBelow } from '../../io/copy-files.ts'
import { inFolder } from '../../io/remote/address.ts'
import type { ApplyPlan } from './plan.ts'

/** The files beside the weights: what goes along, and what doesn't. */

export interface Companion extends FoundFile {
  /** Where it is; `path` is its path in the merged checkpoint. */
  readonly from: string
}

export interface Companions {
  readonly copied: readonly Companion[]
  readonly leftOut: readonly string[]
}

/** Weights, of any format, and an index of them. */
const WEIGHTS = /\.(safetensors|bin|pt|pth|ckpt|pkl|gguf|onnx|onnx_data|h5|hdf5|msgpack|ot|tflite|nemo)$/i

/** What a training leaves beside its model. */
const OF_TRAINING =
  /^(optimizer|scheduler|rng_state|scaler|trainer_state|training_args|zero_to_fp32|latest$|checkpoint-\d|global_step)/

/** The base's own description, and an adapter that lies beside it. */
const NOT_OURS = /^(README|adapter_)/i

/** In folders whose weights aren't read they belong to the model, whatever their format, but for those that only other programs read. */
const FOREIGN_BELOW = /\.(pth|gguf|msgpack|h5|tflite|nemo)$/i

/** Files that speak of the words of a vocabulary. */
const OF_TOKENIZER =
  /^(tokenizer|special_tokens|added_tokens|vocab|merges|chat_template|spiece|sentencepiece|tekken)/

/**
 * The files that go into the merged checkpoint beside its weights: those of the base's folder, and its folders whole; where the
 * vocabulary is replaced, an adapter's tokenizer wins. None of a base that is a single file.
 */
export async function companionsOf(plan: ApplyPlan): Promise<Companions> {
  const { base } = plan
  const { folder } = base
  if (folder === undefined) return { copied: [], leftOut: [] }
  const leftOut: string[] = []
  const components = new Set(base.components?.map((one) => one.name))
  const isOfComponent = (path: string) => components.has(path.slice(0, path.indexOf('/')))
  const files = await filesBelow(folder, (path, isFolder) => {
    const name = path.split('/').at(-1)!
    const isTop = !path.includes('/')
    // the hub's and git's own
    if (name.startsWith('.')) return false
    // a pipeline has a folder called scheduler
    const isOfTraining = base.components === undefined && OF_TRAINING.test(name)
    if (isOfTraining || (isTop && NOT_OURS.test(name))) {
      leftOut.push(path)
      return false
    }
    if (isFolder) return true
    // beside weights that are written anew others would be the old ones
    const isBeside = isTop || isOfComponent(path)
    if (isBeside && (isWeightsOf(plan, path) || /\.index(\.[^.]+)?\.json$/.test(name))) return false
    const isForeign = isBeside ? WEIGHTS.test(name) : FOREIGN_BELOW.test(name)
    if (isForeign) leftOut.push(path)
    return !isForeign
  })
  const copied = new Map(
    files.map((file): [string, Companion] => [file.path, { ...file, from: inFolder(folder, file.path) }]),
  )
  for (const file of await tokenizersOf(plan)) copied.set(file.path, file)
  return { copied: [...copied.values()], leftOut }
}

/** Whether a file of the folder is one whose tensors were read. */
const isWeightsOf = ({ tensors }: ApplyPlan, path: string) => tensors.some(({ home }) => home === path)

/** The tokenizers of the adapters that replace the vocabulary; of several the last one's. */
async function tokenizersOf({ adapters, changes }: ApplyPlan): Promise<Companion[]> {
  const replacing = new Set(
    changes.flatMap(({ name, replacement }) =>
      replacement !== undefined && /(embed_tokens|wte|word_embeddings|shared|lm_head)\.weight$/.test(name)
        ? [replacement.path]
        : [],
    ),
  )
  const found: Companion[] = []
  for (const { checkpoint, adapter } of adapters) {
    const { folder } = checkpoint
    if (folder === undefined || !replacing.has(adapter.path)) continue
    const files = await filesBelow(folder, (path, isFolder) => !isFolder && OF_TOKENIZER.test(path))
    found.push(...files.map((file) => ({ ...file, from: inFolder(folder, file.path) })))
  }
  return found
}
