import { type Command, Option } from 'commander'
import { byteSize, common, numberList, type Run } from '../flags.ts'
import type { ApplyFlags } from './document.ts'
import { APPLY } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd apply base/ adapter/ -o merged/
  lora-svd apply base/ style/ task/ -o merged/ --weights 0.7,0.3
  lora-svd apply base/ adapter/ -o merged/ --dtype f32 --dry-run

The sum is exact: W + Σ weight·scale·B·A in float64, rounded once. --weights
is what others call --ratios, --multiplier or --lora_weight. There is no
--in-place: a merge that is cut short must not cost the base.
A run that was killed goes on where it was when the same command is given again.

Exit codes: 0 done
1 an adapter holds something that is not applied
2 bad options or input, nothing written · 3 disk full, no permission`

/** `apply`: the merged checkpoint. */
export function addApply(program: Command, run: Run): void {
  const command = program
    .command('apply')
    .summary('the checkpoint with adapters merged into it')
    .description(
      'Adds the changes of adapters to the weights of a base, each weight rounded once, and writes the whole checkpoint: ' +
        'sharded like the base, with all that lies beside its weights. Says before and after how much of the adapter the ' +
        'stored type keeps.\n' +
        '<base> is a model folder, a .safetensors file, an index of shards, or org/name in the local cache.',
    )
    .argument('<base>', 'the weights')
    .argument('<adapters...>', 'adapter folders or files, in any format that is read')
    .addOption(new Option('-o, --out <path>', 'the merged checkpoint').makeOptionMandatory())
    .addOption(
      new Option('--weights <w,…>', 'by what each change is multiplied (default: 1 each)').argParser(
        numberList(APPLY.weights, 'numbers'),
      ),
    )
    .addOption(
      new Option('--dtype <float>', 'what the weights are stored as')
        .choices(APPLY.dtype.choices)
        .default('as-base'),
    )
    .addOption(
      new Option('--max-shard-size <size>', "such as 5GB (default: the base's own shards)").argParser(
        byteSize,
      ),
    )
    .addOption(
      new Option(
        '--prefer <which>',
        'whose tensor counts where two adapters replace one differently',
      ).choices(APPLY.prefer.choices),
    )
    .addOption(common.alpha(APPLY.alpha, 'adapters that do not say it'))
    .addOption(common.alphaZero())
    .addOption(common.init())
    .addOption(
      new Option('--dry-run', 'say what would be done, and from a sample what rounding would leave').default(
        false,
      ),
    )
    .addOption(new Option('-f, --force', 'replace an existing checkpoint').default(false))
    .addOption(
      new Option('--restart', 'discard what an unfinished run with other options has left').default(false),
    )
    .addOption(common.memory())
  command
    .addHelpText('after', EXAMPLES)
    .action((base: string, adapters: string[], flags: Omit<ApplyFlags, 'base' | 'adapters'>) =>
      run(async (terminal) => {
        const { printApply } = await import('./document.ts')
        return printApply({ ...flags, base, adapters }, terminal)
      }),
    )
}
