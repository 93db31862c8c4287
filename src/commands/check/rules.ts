import type { Effect, Loader } from '../../lora/loaders/types.ts'

/** How much a defect weighs: an error is one that no use of the adapter survives, or that loaders take in different ways. */
export type Severity = 'error' | 'warning' | 'note'

/** A kind of defect of the file itself. */
export interface DefectRule {
  readonly severity: Severity
  /** What is wrong, as a sentence. */
  readonly text: string
  /** What to do about it. */
  readonly advice: string
  /** Where what is right is said. */
  readonly source: string
}

const PEFT = 'huggingface/peft: src/peft/'
const CONFIG = `${PEFT}tuners/lora/config.py @2026-08-21`
const LAYER = `${PEFT}tuners/lora/layer.py @2026-08-21`
const SAVE = `${PEFT}utils/save_and_load.py @2026-08-21`
const TUNERS = `${PEFT}tuners/tuners_utils.py @2026-08-21`
const KOHYA = 'kohya-ss/sd-scripts: networks/lora.py @2026-02-16'
const COMFYUI = 'Comfy-Org/ComfyUI: comfy/lora.py @2025-10-12'
const SAFETENSORS = 'huggingface/safetensors: safetensors/src/tensor.rs, 2026-05'
const IEEE = 'IEEE 754-2019, binary16'

const AGAIN = 'save or download the adapter again'
const ANEW = 'save the adapter anew from the model that was trained'

/** All defects, by their stable names. */
export const DEFECTS = {
  empty: {
    severity: 'error',
    text: 'The file holds no tensors.',
    advice: `${AGAIN}: the training wrote nothing, or PEFT found no adapter to save`,
    source: SAVE,
  },
  'no-factors': {
    severity: 'error',
    text: 'None of the tensors is a factor of an adapter.',
    advice: `${ANEW}; names of factors end in lora_A.weight and lora_B.weight, or lora_down.weight and lora_up.weight`,
    source: SAVE,
  },
  'half-pair': {
    severity: 'error',
    text: 'A module has one factor and lacks the other.',
    advice: AGAIN,
    source: LAYER,
  },
  'duplicate-module': {
    severity: 'error',
    text: 'Two tensors are the same part of one module.',
    advice: 'leave one of the two out: loaders take the one that they meet last',
    source: SAVE,
  },
  'swapped-factors': {
    severity: 'error',
    text: 'The factors of a module lie the other way round.',
    advice:
      'exchange A and B, or transpose both: A is [rank, in] and B is [out, rank], of MLX lora_a [in, rank] and lora_b [rank, out]',
    source: LAYER,
  },
  'factor-shapes': {
    severity: 'error',
    text: 'The factors of a module do not fit each other.',
    advice: AGAIN,
    source: LAYER,
  },
  'factor-dtype': {
    severity: 'error',
    text: 'A factor is stored as a dtype that is no float.',
    advice: 'store factors as F32, F16 or BF16',
    source: LAYER,
  },
  'grouped-convolution': {
    severity: 'error',
    text: 'The factors are of a grouped convolution, for which PEFT expects other shapes.',
    advice: 'leave the module out, or merge it into the base',
    source: LAYER,
  },
  'other-kind': {
    severity: 'error',
    text: 'The tensors are those of another method than LoRA, LoHa and LoKr.',
    advice: 'merge it with the tool that made it, and extract a LoRA from the result',
    source: 'KohakuBlueleaf/LyCORIS: lycoris/modules @2025-10-04',
  },
  'several-adapters': {
    severity: 'error',
    text: 'The keys hold the names of several adapters.',
    advice: 'save each adapter alone (model.save_pretrained with selected_adapters)',
    source: SAVE,
  },
  unreadable: {
    severity: 'error',
    text: 'A part of the file can not be read.',
    advice: AGAIN,
    source: SAFETENSORS,
  },
  'alpha-shape': {
    severity: 'error',
    text: 'An .alpha tensor is not one number.',
    advice: 'store alpha as a tensor of the shape [] or [1]',
    source: KOHYA,
  },
  'alpha-zero': {
    severity: 'error',
    text: 'An alpha is 0, which kohya and LyCORIS read as the rank, ComfyUI as no change, and llama.cpp as a scale of 1.',
    advice: 'write the alpha that is meant, or leave the tensor out where it is the rank',
    source: KOHYA,
  },
  'alpha-not-finite': {
    severity: 'error',
    text: 'An alpha is NaN or infinite.',
    advice: 'write the alpha that is meant',
    source: KOHYA,
  },
  'unknown-scale': {
    severity: 'error',
    text: 'Nothing says the scale: there is neither adapter_config.json nor an .alpha tensor.',
    advice: 'put the adapter_config.json beside it that belongs to it, with its lora_alpha',
    source: CONFIG,
  },
  'alpha-in-some': {
    severity: 'note',
    text: 'Some modules have an .alpha tensor and others have none, which means their rank.',
    advice: 'give every module an alpha',
    source: KOHYA,
  },
  'factors-and-diff': {
    severity: 'error',
    text: 'One weight has factors and a .diff in one file, of which ComfyUI applies the .diff alone.',
    advice: 'put both into the .diff, or into two files',
    source: COMFYUI,
  },
  'dora-scale-one-dimension': {
    severity: 'error',
    text: 'A dora_scale has one dimension: of a square weight it does not tell the axis.',
    advice: 'store it as [out, 1] or [1, in]',
    source: 'KohakuBlueleaf/LyCORIS: lycoris/modules/locon.py @2025-10-04',
  },
  'dora-scale-shape': {
    severity: 'error',
    text: 'Magnitudes of DoRA do not fit their weight.',
    advice: 'store one magnitude for each row of the weight, or for each column',
    source: `${PEFT}tuners/lora/dora.py @2026-08-21`,
  },
  'unread-tensor': {
    severity: 'warning',
    text: 'Tensors of the file are read by no loader of its format.',
    advice: 'leave them out, or rename them',
    source: SAVE,
  },
  'copy-of-base': {
    severity: 'note',
    text: 'The file holds copies of the base’s weights, which loaders skip.',
    advice: 'leave them out: they cost space alone',
    source: SAVE,
  },
  'mixed-dtypes': {
    severity: 'note',
    text: 'The factors are stored in several dtypes.',
    advice: 'nothing has to be done: loaders convert them to one',
    source: SAFETENSORS,
  },
  'names-of-nobody': {
    severity: 'error',
    text: 'A name begins with nothing by which a loader knows an adapter’s modules.',
    advice:
      'name modules as loaders do: lora_unet_ and lora_te1_ before underscores, diffusion_model., unet., transformer. or text_encoder. before dots',
    source: COMFYUI,
  },
  'names-not-of-family': {
    severity: 'error',
    text: 'A name is none that a module of the model has.',
    advice: 'correct the name, or hold it to the model’s own weights with --base',
    source: COMFYUI,
  },
  'names-not-known': {
    severity: 'warning',
    text: 'A name is none that is known here of the model.',
    advice: 'hold it to the model’s own weights with --base, if it is a relative with modules of its own',
    source: COMFYUI,
  },
  'family-not-known': {
    severity: 'note',
    text: 'The names tell no family that is known here: whether a model has them only its weights tell.',
    advice: 'give the weights with --base',
    source: COMFYUI,
  },
  'names-of-gguf': {
    severity: 'error',
    text: 'The modules are called as in a GGUF file, and no model of transformers has such names.',
    advice:
      'write it as GGUF for llama.cpp (lora-svd convert --format gguf), or under the names of the model’s safetensors',
    source: 'ggml-org/llama.cpp: gguf-py/gguf/constants.py, TENSOR_NAMES @2026-09-28',
  },
  'rank-above-limit': {
    severity: 'error',
    text: 'A rank is above --max-rank.',
    advice: 'make it smaller: lora-svd resize ADAPTER -o OUT --rank N',
    source: 'lora-svd: --max-rank',
  },
  'rank-above-size': {
    severity: 'warning',
    text: 'A rank is above the smaller side of its weight: the factors have more numbers than the weight.',
    advice: 'make it smaller: lora-svd resize ADAPTER -o OUT --rank N',
    source: LAYER,
  },
  'config-missing': {
    severity: 'error',
    text: 'The file has PEFT’s names, and no adapter_config.json lies beside it.',
    advice: 'put the adapter_config.json beside it that belongs to it, and name the folder',
    source: SAVE,
  },
  'config-peft-type': {
    severity: 'error',
    text: 'adapter_config.json has no peft_type that is known.',
    advice: 'a LoRA says "peft_type": "LORA"',
    source: `${PEFT}mapping.py @2026-08-21`,
  },
  'config-field': {
    severity: 'error',
    text: 'A field of adapter_config.json is of a wrong type or value.',
    advice: 'correct the field',
    source: CONFIG,
  },
  'config-rank': {
    severity: 'error',
    text: 'The rank in adapter_config.json is not that of the tensors.',
    advice: 'correct r or rank_pattern, of MLX lora_parameters.rank',
    source: LAYER,
  },
  'config-base-missing': {
    severity: 'note',
    text: 'adapter_config.json does not name the base model.',
    advice: 'set base_model_name_or_path: AutoPeftModel and servers read it',
    source: `${PEFT}auto.py @2026-08-21`,
  },
  'config-base-local': {
    severity: 'note',
    text: 'base_model_name_or_path is a path of one machine.',
    advice: 'set it to the model’s name on the Hub',
    source: `${PEFT}auto.py @2026-08-21`,
  },
  'config-alpha-zero': {
    severity: 'error',
    text: 'lora_alpha is 0: PEFT multiplies the change by 0.',
    advice: 'write the alpha that is meant',
    source: CONFIG,
  },
  'config-targets': {
    severity: 'warning',
    text: 'target_modules names modules that the file has no factors of.',
    advice: 'leave the names out: PEFT makes fresh factors for them, which change nothing',
    source: TUNERS,
  },
  'config-no-target': {
    severity: 'error',
    text: 'target_modules matches no module of the file.',
    advice: 'name the modules that the factors are of',
    source: TUNERS,
  },
  'config-rank-pattern': {
    severity: 'warning',
    text: 'A pattern of rank_pattern matches no module of the file.',
    advice:
      'correct it or leave it out: a pattern is matched against the end of a path, and the first that fits holds',
    source: `${PEFT}utils/other.py, get_pattern_key @2026-08-21`,
  },
  'config-alpha-pattern': {
    severity: 'warning',
    text: 'A pattern of alpha_pattern matches no module of the file.',
    advice:
      'correct it or leave it out: a pattern is matched against the end of a path, and the first that fits holds',
    source: `${PEFT}utils/other.py, get_pattern_key @2026-08-21`,
  },
  'config-dora-without-magnitudes': {
    severity: 'error',
    text: 'use_dora is true, and modules have no magnitudes.',
    advice: 'set use_dora to false where it is a LoRA, or save the adapter anew',
    source: `${PEFT}tuners/lora/dora.py @2026-08-21`,
  },
  'config-magnitudes-without-dora': {
    severity: 'error',
    text: 'The file holds DoRA’s magnitudes, and use_dora is not set: PEFT passes over them.',
    advice: 'set use_dora to true',
    source: SAVE,
  },
  'config-bias-without-flag': {
    severity: 'error',
    text: 'The file holds lora_B.bias, and lora_bias is not set: PEFT passes over it.',
    advice: 'set lora_bias to true',
    source: SAVE,
  },
  'config-lora-bias': {
    severity: 'warning',
    text: 'lora_bias is true, and no module has a lora_B.bias.',
    advice: 'set lora_bias to false',
    source: CONFIG,
  },
  'config-bias': {
    severity: 'warning',
    text: 'bias says that biases were trained, and the file holds none.',
    advice: 'set bias to "none", which servers ask for',
    source: CONFIG,
  },
  'config-modules-to-save': {
    severity: 'error',
    text: 'modules_to_save names modules that the file does not hold.',
    advice: `${ANEW}, or leave the names out`,
    source: SAVE,
  },
  'config-mutated-base': {
    severity: 'warning',
    text: 'The adapter belongs to a base that its training changed first (PiSSA, OLoRA and their like): on the plain base it is another.',
    advice: 'save it with path_initial_model_for_weight_conversion, which turns it into a plain LoRA',
    source: `${PEFT}tuners/lora/model.py, subtract_mutated_init @2026-08-21`,
  },
  'config-layer-replication': {
    severity: 'note',
    text: 'layer_replication is set: the modules are those of a model with repeated layers.',
    advice: 'load it with PEFT alone',
    source: CONFIG,
  },
  'config-fan-in-fan-out': {
    severity: 'warning',
    text: 'fan_in_fan_out is true, and no module has the name of a layer that is stored [in, out].',
    advice: 'set fan_in_fan_out to false for nn.Linear',
    source: LAYER,
  },
  'not-finite': {
    severity: 'error',
    text: 'A tensor has entries that are NaN or infinite.',
    advice: 'take an earlier checkpoint of the training',
    source: IEEE,
  },
  untrained: {
    severity: 'error',
    text: 'Every module has a factor that is all zeros: the adapter changes nothing.',
    advice: 'it was saved before the training, or from another model than was trained: save it anew',
    source: LAYER,
  },
  'zero-b': {
    severity: 'note',
    text: 'The B of some modules is all zeros: they change nothing.',
    advice: 'leave them out, but where a loader needs whole groups of modules',
    source: LAYER,
  },
  'zero-a': {
    severity: 'warning',
    text: 'The A of some modules is all zeros, as no training begins with: they change nothing.',
    advice: ANEW,
    source: LAYER,
  },
  'f16-overflow': {
    severity: 'warning',
    text: 'An entry is above 65504: in F16 it is infinite.',
    advice: 'balance the factors (lora-svd resize does), or serve it in BF16',
    source: IEEE,
  },
  'f16-overflow-scaled': {
    severity: 'warning',
    text: 'The scale times an entry of B is above 65504, which is infinite where a loader folds the scale into F16.',
    advice: 'put the scale into both factors (lora-svd resize does), or serve it in BF16',
    source: 'NVIDIA/TensorRT-LLM: tensorrt_llm/lora_manager.py, mid-2026',
  },
  'base-unmatched': {
    severity: 'error',
    text: 'A module’s name is none of the base’s.',
    advice: 'name the base that the adapter was trained on',
    source: SAVE,
  },
  'base-shared': {
    severity: 'error',
    text: 'Two modules of the file change the same rows of one weight of the base.',
    advice: 'leave one of the two out, or add their changes up: loaders take the one that they meet last',
    source: COMFYUI,
  },
  'base-shapes': {
    severity: 'error',
    text: 'Factors do not fit the base’s weight of their name.',
    advice: 'name the base that the adapter was trained on',
    source: SAVE,
  },
  'base-whole': {
    severity: 'error',
    text: 'A whole tensor does not fit the base’s of its name, or there is none.',
    advice: 'name the base that the adapter was trained on; a resized vocabulary needs its tokenizer’s model',
    source: SAVE,
  },
  'base-not-loaded': {
    severity: 'error',
    text: 'PEFT or vLLM finds no module of the base for the factors, or none of a class that it takes.',
    advice: 'rename them, or leave them out',
    source: TUNERS,
  },
} as const satisfies Readonly<Record<string, DefectRule>>

export type DefectName = keyof typeof DEFECTS
export const isDefectName = (name: string): name is DefectName => Object.hasOwn(DEFECTS, name)

/** What finders give: what is the same for all of a kind is filled in from the table. */
export interface Found {
  readonly rule: DefectName
  /** What is wrong here; the rule's own sentence where there is nothing to add. */
  readonly message?: string
  readonly names?: readonly string[]
  /** It is in adapter_config.json. */
  readonly inConfig?: true
  /** What comes of it in these loaders, and in no others; else what is said of all of its kind. */
  readonly loading?: { readonly loaders: readonly Loader[]; readonly effect: Effect; readonly why: string }
}
