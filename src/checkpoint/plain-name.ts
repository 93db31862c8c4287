/**
 * Parts that wrappers put into the names of a module's parameters, and that no model calls its own modules: activation
 * checkpointing (torch/distributed/algorithms/_checkpoint/checkpoint_wrapper.py), torch.compile (torch/_dynamo/eval_frame.py),
 * FSDP (torch/distributed/fsdp/_common_utils.py), FairScale, and DataParallel, DistributedDataParallel and DeepSpeed.
 */
const WRAPPERS: ReadonlySet<string> = new Set([
  '_checkpoint_wrapped_module',
  '_orig_mod',
  '_fsdp_wrapped_module',
  '_fpw_module',
  'module',
])

/** A name without the parts that wrappers put into it. */
export function plainName(name: string): string {
  if (!/_module|_orig_mod|(^|\.)module\./.test(name)) return name
  const parts = name.split('.')
  const plain = parts.filter((part, i) => i === parts.length - 1 || !WRAPPERS.has(part))
  return plain.join('.')
}

/**
 * Buffers that models compute when they are made and that some versions of a library save and others don't: positions,
 * frequencies of rotary embeddings, masks. They are no result of training.
 */
const COMPUTED =
  /(^|\.)(position_ids|inv_freq|original_inv_freq|cos_cached|sin_cached|masked_bias|causal_mask|attn_mask|relative_position_index|relative_coords_table|num_batches_tracked|embeddings\.token_type_ids)$/

/** GPT-2 and its kin keep their causal mask as a parameter's namesake: [1, 1, n, n]. */
const CAUSAL_MASK = /(^|\.)(attn|attention)\.bias$/

/** Whether a tensor is a buffer that the model computes itself. */
export function isComputed({ name, shape }: { readonly name: string; readonly shape: readonly number[] }) {
  if (COMPUTED.test(name)) return true
  const isSquare = shape.length === 4 && shape[0] === 1 && shape[1] === 1 && shape[2] === shape[3]
  return isSquare && CAUSAL_MASK.test(name)
}
