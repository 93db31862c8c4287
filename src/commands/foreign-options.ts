/**
 * Options that people know from other tools, by the command that does the same here: kohya-ss/sd-scripts' networks/resize_lora.py and
 * merge_lora.py, PEFT's add_weighted_adapter, mergekit and axolotl.
 */
const FOREIGN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  resize: {
    new_rank: '--rank N, or --max-rank N beside another rule',
    new_conv_rank: '--rank N: convolutions have the rule of all',
    dynamic_method: '--energy p² for sv_fro p, --error e for an error',
    dynamic_param: '--energy p² for sv_fro p, --error e for an error',
    save_precision: '--dtype f32, f16 or bf16',
    model: 'the first argument',
    save_to: '-o, --out PATH',
    device: 'nothing: no GPU is needed',
  },
  merge: {
    ratios: '--weights w1,w2',
    ratio: '--weights w',
    models: 'the adapters themselves, one after the other',
    save_to: '-o, --out PATH',
    save_precision: '--dtype f32, f16 or bf16',
    precision: 'nothing: sums are made in float64',
    concat: 'what is always done, and exactly: leave it out',
    combination_type: 'nothing: the sum is exact, and a rank rule gives the best of a rank',
    svd_rank: '--rank N',
    new_rank: '--rank N',
    density: 'nothing: no entries are dropped',
  },
  apply: {
    ratios: '--weights w1,w2',
    ratio: '--weights w',
    multiplier: '--weights w',
    strength: '--weights w',
    lora_weight: '--weights w',
    models: 'the adapters, after the base',
    sd_model: 'the base, the first argument',
    lora_model: 'the adapter, an argument after the base',
    save_to: '-o, --out PATH',
    save_precision: '--dtype f32, f16 or bf16',
    precision: 'nothing: sums are made in float64, and --dtype says what is written',
    device: 'nothing: no GPU is needed',
    in_place: 'nothing: what is read is never written over',
  },
}

/** Options of work in shards. */
const OF_SHARDS = new Set(['--shard', '--shards', '--join'])

/** The commands that have these. */
const IN_SHARDS = new Set(['extract', 'inspect', 'verify'])

/** Why an option of shards is not one of this command, as the end of a sentence; undefined where it is none of those. */
export function shardOption(command: string | undefined, flag: string): string | undefined {
  if (command === undefined || !OF_SHARDS.has(flag.replace(/=.*$/s, ''))) return undefined
  return IN_SHARDS.has(command)
    ? 'takes no value; folders are arguments'
    : 'only extract, inspect and verify work in shards'
}

/** What an option of another tool is called here, as the end of a sentence; undefined where none is meant. */
export function foreignOption(command: string | undefined, flag: string): string | undefined {
  const names = FOREIGN[command ?? '']
  const name = flag.replace(/^-+/, '').replace(/=.*$/s, '').replaceAll('-', '_')
  return names !== undefined && Object.hasOwn(names, name) ? names[name] : undefined
}
