import { counted, shapeText } from '../text/quote.ts'
import type { TargetModule } from './model.ts'
import type { ModelTraits } from './traits.ts'
import { leafOfPath, ownerOfPath, pathOf } from './traits.ts'

/** A weight of a model, as far as it tells the class of its module. */
export interface ModuleFacts {
  /** The module's path as stored: the tensor's name without `.weight`. */
  readonly path: string
  readonly shape: readonly number[]
  /** Seen as a kernel [out, in, …]. */
  readonly isKernel: boolean
  readonly traits: ModelTraits
}

/** What PEFT's LoRA makes of a module. */
export type Taking =
  | { readonly takes: 'linear' | 'conv1d' | 'embedding' | 'convolution' }
  | {
      /** `raises`: PEFT loads nothing of the adapter; `ignores`: the factors are there without effect. */
      readonly takes: 'raises' | 'ignores'
      readonly reason: string
      /** No release and no class by that name takes it; else it may be one that does. */
      readonly isCertain: boolean
    }

interface Rule {
  readonly applies: (facts: ModuleFacts) => boolean
  readonly taking: Taking
}

/** PEFT's own list (huggingface/peft:src/peft/tuners/tuners_utils.py@2026-08-21, _check_lora_target_modules_mamba). */
const MAMBA_TYPES = ['falcon_h1', 'mamba', 'mamba2', 'falcon_mamba', 'nemotron_h']

/** Model types whose router is a class of its own in every release that has them (huggingface/transformers: models/…). */
const ROUTER_TYPES = ['gpt_oss', 'deepseek_v2', 'deepseek_v3', 'glm4_moe']

/** Model types of grouped convolutions that are not depthwise (transformers: modeling_regnet.py, modeling_squeezebert.py). */
const GROUPED_TYPES = ['regnet', 'squeezebert']

/** The last name of modules that look rows up. `embed_out` is the head of GPT-NeoX, a linear layer. */
const EMBEDDINGS =
  /^(?:embed_tokens(?:_.*)?|embed_in|wte|wpe|shared|relative_attention_bias|tok_emb|token_emb|word_emb|(?:.*_)?embed(?:ding)?s?)$/

/** Names that some models give tables of rows and others linear layers: nothing in a file tells which. */
const UNCLEAR_EMBEDDINGS =
  /^(?:patch_embed(?:ding)?s?|(?:.*_)?emb|(?:.*_)?embs|(?:.*_)?codebooks?|(?:.*_)?embed(?:ding)?s?_table|(?:.*_)?lookup(?:_table)?)$/

/** Whether the last name of a module is one that models give tables of rows alone. */
export const isEmbeddingName = (leaf: string) => EMBEDDINGS.test(leaf) && !UNCLEAR_EMBEDDINGS.test(leaf)

const ROUTERS = /^(?:gate|router)$/
const ROUTED_BLOCKS = /^(?:mlp|moe|ffn|feed_forward|block_sparse_moe)$/
const TRANSPOSED = /(?:^|[._])(?:deconv|convtranspose|conv_transpose|transposed?_conv|upconv|up_conv)/i

const leafOf = ({ path }: ModuleFacts) => leafOfPath(path)
const ownerOf = ({ path }: ModuleFacts) => ownerOfPath(path)
const siblingOf = (facts: ModuleFacts, name: string) =>
  ownerOf(facts) === '' ? name : `${ownerOf(facts)}.${name}`
const isOf = ({ traits }: ModuleFacts, types: readonly string[]) =>
  traits.types.some((type) => types.includes(type))

const refused = (takes: 'raises' | 'ignores', isCertain: boolean, reason: string): Taking => ({
  takes,
  reason,
  isCertain,
})

/** A module called gate or router, where experts lie beside it or the block's name says that there are some. */
function isRouter(facts: ModuleFacts): boolean {
  if (!ROUTERS.test(leafOf(facts))) return false
  const owner = ownerOf(facts)
  return ROUTED_BLOCKS.test(leafOfPath(owner)) || facts.traits.hasUnder(`${owner}.experts`)
}

const OWN_ROUTER = 'a router of a class of its own, at which PEFT raises'

/**
 * Which modules PEFT's LoRA takes: the first rule that applies holds. PEFT makes factors for torch's Linear, Embedding, Conv1d to
 * Conv3d and transformers' Conv1D, by their class, raises at other classes, and ignores tensors that no module of the model takes
 * (huggingface/peft@2026-08-21: src/peft/tuners/lora/layer.py, dispatch_default; lora/model.py, _create_new_module;
 * utils/save_and_load.py, set_peft_model_state_dict).
 */
const RULES: readonly Rule[] = [
  // transformers: modeling_opt.py, modeling_bart.py: nn.Embedding with a forward of its own, which PEFT's replaces
  {
    applies: (facts) => leafOf(facts) === 'embed_positions',
    taking: refused('ignores', false, 'a table of positions, looked up at an offset'),
  },
  // lora/layer.py, dispatch_default: nn.Embedding has lora_embedding_A and _B; Gemma 3n's embed_tokens_per_layer is one
  {
    applies: (facts) => facts.shape.length === 2 && isEmbeddingName(leafOf(facts)),
    taking: { takes: 'embedding' },
  },
  // the same: factors of the one kind are no names of the other's
  {
    applies: (facts) => facts.shape.length === 2 && UNCLEAR_EMBEDDINGS.test(leafOf(facts)),
    taking: refused(
      'ignores',
      false,
      'a table of rows or a linear layer: its name does not tell, and PEFT goes by the class',
    ),
  },
  // transformers: GptOssTopKRouter, DeepseekV3TopkRouter and their like hold their weight as a parameter: no Linear
  {
    applies: (facts) => facts.shape.length === 2 && isRouter(facts) && isOf(facts, ROUTER_TYPES),
    taking: refused('raises', true, OWN_ROUTER),
  },
  // transformers 5 makes such classes of all (MixtralTopKRouter, Qwen3MoeTopKRouter …); Llama4Router gives a tuple
  {
    applies: (facts) => facts.shape.length === 2 && isRouter(facts),
    taking: refused('raises', false, `${OWN_ROUTER} since transformers 5`),
  },
  // tuners_utils.py, _check_lora_target_modules_mamba
  {
    applies: (facts) => isOf(facts, MAMBA_TYPES) && /^(?:out_proj|conv1d)$/.test(leafOf(facts)),
    taking: refused('raises', true, 'a module that PEFT raises at in Mamba-like models'),
  },
  // the same where no config tells the model's type: the parameters of a state space lie beside it
  {
    applies: (facts) =>
      facts.traits.types.length === 0 &&
      leafOf(facts) === 'out_proj' &&
      facts.traits.has(siblingOf(facts, 'A_log')),
    taking: refused('raises', false, 'a module that PEFT raises at in Mamba-like models'),
  },
  // torch/nn/modules/activation.py, MultiheadAttention.forward: hands out_proj.weight on and calls no out_proj
  {
    applies: (facts) =>
      leafOf(facts) === 'out_proj' &&
      (facts.traits.has(siblingOf(facts, 'in_proj_weight')) ||
        facts.traits.has(siblingOf(facts, 'q_proj_weight'))),
    taking: refused(
      'ignores',
      true,
      "part of torch's MultiheadAttention, which never calls it, so that factors do nothing",
    ),
  },
  // lora/layer.py, dispatch_default: ConvTranspose is none of the classes; its weight is [in, out, …]
  {
    applies: (facts) => facts.isKernel && TRANSPOSED.test(facts.path),
    taking: refused('raises', true, 'a transposed convolution, at which PEFT raises'),
  },
  // lora/layer.py, _ConvNd: A is [r, in, …] with all input channels, where the stored kernel has those of one group
  {
    applies: ({ isKernel, shape }) => isKernel && shape[1] === 1 && shape[0] > 1,
    taking: refused(
      'raises',
      false,
      'a kernel of one input channel: a depthwise convolution, of which PEFT expects other shapes',
    ),
  },
  {
    applies: (facts) =>
      facts.isKernel && (isOf(facts, GROUPED_TYPES) || /(?:^|\.)pos_conv_embed\.conv$/.test(facts.path)),
    taking: refused('raises', false, 'a grouped convolution, of which PEFT expects other shapes'),
  },
  // lora/layer.py: Conv1d, Conv2d, Conv3d
  { applies: ({ isKernel }) => isKernel, taking: { takes: 'convolution' } },
  // lora/layer.py, dispatch_default: transformers' Conv1D, stored [in, out]
  {
    applies: (facts) => facts.traits.isConv1d(facts.path) === true,
    taking: { takes: 'conv1d' },
  },
  { applies: () => true, taking: { takes: 'linear' } },
]

export const takingOf = (facts: ModuleFacts): Taking => RULES.find(({ applies }) => applies(facts))!.taking

/** How a tensor is seen as matrices, as in `WeightMatrix`. */
export type TensorView = 'matrix' | 'conv' | 'expert'

/** What may be carried besides linear layers and convolutions. */
export interface ModuleOptions {
  readonly embeddings?: boolean
  /** Stacked experts as PEFT's `target_parameters`, which loaders read in different ways. */
  readonly experts?: boolean
}

/** The parameters of an experts module in the order in which models register them, which is how PEFT nests them. */
export const EXPERT_PARAMETERS = ['gate_up_proj', 'down_proj'] as const

export const isExpertParameter = (name: string) => (EXPERT_PARAMETERS as readonly string[]).includes(name)

/** Why PEFT's LoRA can't adapt a tensor. */
export interface NoModule {
  readonly reason: string
  /** It is one of stacked experts, which are adapted only where that is asked for. */
  readonly isOfExperts?: true
}

function expertsModule(
  tensor: string,
  shape: readonly number[],
  traits: ModelTraits,
  options: ModuleOptions,
): TargetModule | NoModule {
  if (options.experts !== true) return { reason: '3-D experts', isOfExperts: true }
  if (shape.length !== 3 || !tensor.includes('.') || !isExpertParameter(leafOfPath(tensor))) {
    return { reason: `3-D experts other than ${EXPERT_PARAMETERS.join(' and ')}`, isOfExperts: true }
  }
  return {
    tensor,
    path: pathOf(tensor, traits),
    kind: 'experts',
    shape,
    rows: shape[1],
    columns: shape[2],
    experts: shape[0],
    isTransposed: traits.expertsInOut,
  }
}

/** The module of a base tensor, or the reason why PEFT's LoRA can't adapt it. */
export function peftModule(
  tensor: string,
  view: TensorView,
  shape: readonly number[],
  traits: ModelTraits,
  options: ModuleOptions = {},
): TargetModule | NoModule {
  if (shape.length < 2) return { reason: 'not a matrix (a norm, a bias or a scalar)' }
  if (shape.includes(0)) return { reason: `empty: its shape is ${shapeText(shape)}` }
  if (view === 'expert') return expertsModule(tensor, shape, traits, options)
  if (!/[^.]\.weight$/.test(tensor))
    return { reason: 'not the weight of a module: its name does not end in .weight' }
  if (shape.length > 5 || (view !== 'conv' && shape.length > 2))
    return { reason: `a tensor of ${counted(shape.length, 'dimension')}` }
  const stored = tensor.slice(0, -'.weight'.length)
  const taking = takingOf({ path: stored, shape, isKernel: view === 'conv', traits })
  if ('reason' in taking) return { reason: taking.reason }
  if (taking.takes === 'embedding' && options.embeddings !== true)
    return { reason: 'an embedding (--embeddings carries it)' }
  return {
    tensor,
    path: pathOf(stored, traits),
    kind: taking.takes,
    shape,
    rows: shape[0],
    columns: shape.slice(1).reduce((product, n) => product * n, 1),
    experts: 1,
    isTransposed: taking.takes === 'embedding' || taking.takes === 'conv1d',
  }
}
