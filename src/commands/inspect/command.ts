import { type Command, Option } from 'commander'
import { common, integerOf, parameterCount, patterns, type Run } from '../flags.ts'
import type { InspectFlags } from './document.ts'
import { INSPECT } from './options.ts'

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

Exit codes: 0 done
1 NaN or infinite entries were found, or not all has its counterpart in --base
2 bad options or input, nothing written · 3 disk full, no permission`

/** `inspect`: how low the rank of real weights is. */
export function addInspect(program: Command, run: Run): void {
  program
    .command('inspect')
    .summary('how low the rank of weights, of a fine-tune or of an adapter is')
    .description(
      'Tells how low the rank of each matrix is: of a checkpoint, of what a fine-tune changed (--base), or of an adapter.\n' +
        '<path> is a model or adapter folder, .safetensors, .gguf, an index of shards, .npy, .npz, .csv, - for standard input, or ' +
        'org/name in the local Hugging Face cache, hf://org/name, or https://.',
    )
    .argument('<path>', 'the weights')
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
    .addHelpText('after', EXAMPLES)
    .action((path: string, flags: Omit<InspectFlags, 'path'>) =>
      run(async (terminal) => {
        const { printInspect } = await import('./document.ts')
        // true is only that the flag was not given
        return printInspect(
          { ...flags, path, intruders: flags.intruders === false ? false : undefined },
          terminal,
        )
      }),
    )
}
