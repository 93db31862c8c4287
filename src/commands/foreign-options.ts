/**
 * Options that people know from other tools, by the command that does the same here: kohya-ss/sd-scripts' networks/resize_lora.py and
 * merge_lora.py, PEFT's add_weighted_adapter, mergekit and axolotl.
 */
const FOREIGN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  resize: {
    new_rank: '--rank N, or --max-rank N beside another rule',
    new_conv_rank:
      '--rank N: kernels have the rank of the rest; --error and --energy give each module its own',
    dynamic_method: '--energy or --error: sv_fro p is --energy p²',
    dynamic_param: '--energy or --error: sv_fro p is --energy p²',
    save_precision: '--dtype',
    model: 'the first argument',
    save_to: '--out',
    device: 'nothing: it needs no GPU',
  },
  merge: {
    ratios: '--weights',
    ratio: '--weights',
    models: 'the adapters, as arguments',
    save_to: '--out',
    save_precision: '--dtype',
    precision: '--dtype: sums are float64',
    concat: 'nothing: the sum is exact',
    combination_type: 'nothing: the sum is exact, and a rank rule gives the best of a rank',
    svd_rank: '--rank',
    new_rank: '--rank',
    density: 'nothing: entries are not dropped',
  },
  apply: {
    ratios: '--weights',
    ratio: '--weights',
    models: 'the adapters, as arguments',
    sd_model: 'the base, the first argument',
    lora_model: 'the adapter, an argument after the base',
    save_to: '--out',
    save_precision: '--dtype',
    device: 'nothing: it needs no GPU',
  },
}

/** What an option of another tool is called here, as the end of a sentence; undefined where none is meant. */
export function foreignOption(command: string | undefined, flag: string): string | undefined {
  const names = FOREIGN[command ?? '']
  const name = flag.replace(/^-+/, '').replace(/=.*$/s, '').replaceAll('-', '_')
  return names !== undefined && Object.hasOwn(names, name) ? names[name] : undefined
}
