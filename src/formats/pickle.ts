/**
 * Python for `python3 -c` that writes what PyTorch's pickles hold (one, or the shards of one model) as one safetensors file;
 * the arguments are the new file, then the pickles. Weights are looked for inside the wrappers that trainers put around
 * them (Lightning: state_dict; DeepSpeed: module; Megatron, torchtune and others: model). Each tensor is stored as a copy
 * of its own, in row-major order, as safetensors.torch.save_file refuses tensors that share memory or aren't contiguous
 * (safetensors/torch.py, _flatten and _tobytes, 0.8). It has no quote or mark that a shell would take.
 */
const CONVERSION = [
  'import sys, torch, safetensors.torch as s',
  "f = lambda d: next((f(d[k]) for k in ('state_dict', 'model_state_dict', 'model', 'module') if isinstance(d.get(k), dict)), d)",
  "t = {k: v.contiguous().clone() for p in sys.argv[2:] for k, v in f(torch.load(p, map_location='cpu', weights_only=True)).items() if torch.is_tensor(v)}",
  "assert t, 'no tensors found'",
  's.save_file(t, sys.argv[1])',
].join('; ')

/** What a pickle is, and how to make of it what is read. */
export const PICKLE_PROBLEM = `is a PyTorch file (pickle), which can run code when read; convert it, with all its shards: python3 -c "${CONVERSION}" out.safetensors in.bin`
