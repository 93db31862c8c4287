import { type Command, Option } from 'commander'
import { common, integerOf, parameterCount, patterns, type Run } from '../flags.ts'
import type { OutputFlags } from '../print.ts'
import { type ShardFlags, shardOf } from '../shard-choice.ts'
import { addShardFlags, argumentsOf, givenFlags, partOption, refuseForJoin } from '../shard-flags.ts'
import { INSPECT, type InspectOptions } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd inspect model/
  lora-svd inspect tuned/ --base base/
  lora-svd inspect tuned/ --base base/ --html report.html --include '*attn*'
  lora-svd inspect tuned/ --base base/ --plot 0.self_attn.q_proj
  lora-svd inspect adapter/
  lora-svd inspect adapter/ --base base/ --sort dominance
  lora-svd inspect tuned/ --base base/ --emit peft --parameters 40M > lora.json
  lora-svd inspect model/ --sort stable-rank --top 10 --json
  lora-svd inspect tuned/ --base base/ --shard 2/4 -o parts/
  lora-svd inspect --join parts/ --html joined.html

Exit codes: 0 done
1 NaN or infinite entries were found, or not all has its counterpart in --base
2 bad options or input, nothing written · 3 disk full, no permission
A shard ends with 0 once its part is whole: what was found is judged by --join.`

/** `inspect`: how low the rank of real weights is. */
export function addInspect(program: Command, run: Run): void {
  const command = program
    .command('inspect')
    .summary('how low the rank of weights, of a fine-tune or of an adapter is')
    .description(
      'Tells how low the rank of each matrix is: of a checkpoint, of what a fine-tune changed (--base), or of an adapter.\n' +
        '<path> is a model or adapter folder, .safetensors, .gguf, an index of shards, .npy, .npz, .csv, - for standard input, or ' +
        'org/name in the local Hugging Face cache, hf://org/name, or https://.',
    )
    .argument('<path>', 'the weights; with --join a part, or a folder of parts')
    .argument('[part...]', 'with --join: more of them')
    .addOption(
      new Option(
        '--base <path>',
        'inspect the change from these weights; of an adapter, set it beside the weights it is added to',
      ),
    )
    .addOption(common.moments())
    .addOption(common.header())
    .optionsGroup('Which matrices:')
    .addOption(patterns('--include <glob>', 'only tensors with such a name (* crosses dots; repeatable)'))
    .addOption(patterns('--exclude <glob>', 'no tensors with such a name (repeatable)'))
    .addOption(
      new Option('--sort <key>', 'order, the largest first').choices(INSPECT.sort.choices).default('model'),
    )
    .addOption(new Option('--reverse', 'the other way round').default(false))
    .addOption(new Option('--top <n>', 'show only the first n').argParser(integerOf(INSPECT.top)))
    .optionsGroup('How much is computed:')
    .addOption(new Option('--full', 'all singular values of every matrix').default(false))
    .addOption(
      new Option('--leading <n>', 'at least so many of large matrices (default: 64)').argParser(
        integerOf(INSPECT.leading),
      ),
    )
    .addOption(
      new Option(
        '--no-intruders',
        'of an adapter with --base: do not look for new directions, which takes most of the time',
      ),
    )
    .addOption(common.allowUnpaired())
    .addOption(common.memory())
    .addOption(common.seed())
    .addOption(common.alpha(INSPECT.alpha))
    .optionsGroup('Pictures and files:')
    .addOption(new Option('--plot <name>', "plot one matrix's spectrum: its name or a part of it"))
    .addOption(new Option('--html <path>', 'an interactive report in one file'))
    .addOption(new Option('--svg <path>', 'the spectra as a picture'))
    .addOption(new Option('--csv <path>', 'the table, a row a matrix'))
    .addOption(new Option('-f, --force', 'replace existing outputs').default(false))
    .optionsGroup('The next training run:')
    .addOption(
      new Option(
        '--emit <for>',
        'print ranks for it in place of a report: the fields of LoraConfig, or the keys of axolotl',
      ).choices(INSPECT.emit.choices),
    )
    .addOption(new Option('--parameters <n>', 'within so many, such as 40M').argParser(parameterCount))
  addShardFlags(command, {
    part: 'look at this part of the matrices alone, and keep what is found in --out',
    join: 'make one report of the parts of all shards',
  })
  command
    .addOption(partOption())
    .addHelpText('after', EXAMPLES)
    .action((path: string, parts: readonly string[], flags: InspectCommandFlags) =>
      run(async (terminal) => {
        argumentsOf(command, ['path'], [path, ...parts], flags)
        const { printInspect } = await import('./document.ts')
        const { json, quiet, join, intruders } = flags
        // true is only that the flag was not given
        const looked = intruders === false ? { intruders } : {}
        if (join) {
          refuseForJoin(command, [...OF_SHARDS, 'shard', 'shards', 'out'])
          const { force, sort, reverse, top, plot, html, svg, csv, emit, parameters } = flags
          const view = { force, sort, reverse, top, plot, html, svg, csv, emit, parameters }
          return printInspect({ ...view, json, quiet, join: [path, ...parts] }, terminal)
        }
        const shard = shardOf(flags, terminal.env)
        const {
          shards: _,
          join: __,
          intruders: ___,
          ...given
        } = shard === undefined ? flags : givenFlags(command, flags)
        return printInspect({ ...given, ...looked, shard, json, quiet, path }, terminal)
      }),
    )
}

/** Flags that say what is looked at. */
const OF_SHARDS = [
  'base',
  'moments',
  'header',
  'include',
  'exclude',
  'full',
  'leading',
  'intruders',
  'allowUnpaired',
  'memory',
  'seed',
  'alpha',
]

type InspectCommandFlags = Omit<InspectOptions, 'path' | 'shard'> &
  OutputFlags &
  ShardFlags & { readonly join: boolean }
