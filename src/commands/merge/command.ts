import { type Command, Option } from 'commander'
import { addRules, numberList, type Run } from '../flags.ts'
import { addSumOptions } from '../resize/command.ts'
import type { MergeFlags } from './document.ts'
import { MERGE } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd merge style/ subject/ -o both/
  lora-svd merge style/ subject/ -o both/ --weights 0.7,0.3 --rank 32
  lora-svd merge tuned/ unwanted/ -o without/ --weights=1,-1
  lora-svd merge strong/ -o weaker/ --weights 0.5

The sum is exact: products are added, not factors. PEFT's "linear" and kohya's
merge without --concat average the factors, which adds what nobody trained: 73
to 140 % of error for two unlike adapters. TIES and DARE drop entries of the
change. kohya's --ratios are --weights here. Without a rank rule the sum keeps
the rank that it has; with one it is the best of that rank.

Exit codes: 0 done
1 what was written misses what was asked for, or lacks what nobody reads
2 bad options or input, nothing written · 3 disk full, no permission`

/** `merge`: several adapters as one. */
export function addMerge(program: Command, run: Run): void {
  const command = program
    .command('merge')
    .summary('several adapters as one: their exact sum')
    .description(
      'Writes Σ wᵢ·ΔWᵢ as one adapter, exactly or as the best of a rank, and reports how the adapters lie to each other: what each ' +
        'adds, where they agree and where they cancel.\n' +
        'Adapters may differ in rank, alpha and in the modules they have; in format too, where --base tells what their names mean.',
    )
    .argument('<adapters...>', 'adapter folders or files; the result is of the kind of the first')
    .addOption(new Option('-o, --out <path>', 'the folder or file to write').makeOptionMandatory())
    .addOption(new Option('--dry-run', 'say what would be done, from the headers alone').default(false))
    .addOption(new Option('-f, --force', 'replace an existing one').default(false))
    .addOption(
      new Option('--weights <list>', 'how much of each, such as 0.7,0.3; negative ones subtract').argParser(
        numberList(MERGE.weights, 'numbers other than 0'),
      ),
    )
    .addOption(
      new Option('--prefer <which>', 'whose whole tensors hold where two adapters replace one').choices(
        MERGE.prefer.choices,
      ),
    )
  addRules(command, { energy: '‖Δ‖_F² of each module', error: 'the least rank with ‖Δ − B·A‖_F ≤ e·‖Δ‖_F' })
  addSumOptions(command)
  command.addHelpText('after', EXAMPLES).action((adapters: string[], flags: Omit<MergeFlags, 'adapters'>) =>
    run(async (terminal) => {
      const { printMerge } = await import('./document.ts')
      return printMerge({ ...flags, adapters }, terminal)
    }),
  )
}
