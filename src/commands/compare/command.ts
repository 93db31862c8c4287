import { type Command, Option } from 'commander'
import { common, integerOf, type Run } from '../flags.ts'
import type { CompareFlags } from './document.ts'
import { COMPARE, DEFAULT_TOP } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd compare style/ subject/
  lora-svd compare one.safetensors other/ --base base/
  lora-svd compare adapters/* --top 20 --json

A cosine near 0 says that two changes don't touch each other's sum, not that
they are unlike: two runs of one training may share their spaces and have no
cosine. The overlap of random spaces is said beside theirs.

Exit codes: 0 done
2 bad options or input · 3 the machine failed`

/** `compare`: how far adapters overlap. */
export function addCompare(program: Command, run: Run): void {
  program
    .command('compare')
    .summary('how far two or more adapters overlap, layer by layer')
    .description(
      'Sets adapters beside each other from their factors: the cosine between their changes, the principal angles between their ' +
        'column and row spaces, and how much of each lies in the spaces of the other; for more than two the nearest pairs and groups.\n' +
        'Adapters may differ in rank, alpha and in the modules they have; in format too, where --base tells what their names mean.',
    )
    .argument('<adapters...>', 'adapter folders or files, in any format that is read; two or more')
    .addOption(
      new Option('--top <n>', 'pairs that are listed, the nearest first')
        .default(DEFAULT_TOP)
        .argParser(integerOf(COMPARE.top)),
    )
    .optionsGroup('What is read:')
    .addOption(new Option('--base <path>', 'the base: where names and files do not tell how its weights lie'))
    .addOption(common.init())
    .addOption(common.alpha(COMPARE.alpha))
    .addOption(common.alphaZero())
    .optionsGroup('How:')
    .addOption(common.memory())
    .addHelpText('after', EXAMPLES)
    .action((adapters: string[], flags: Omit<CompareFlags, 'adapters'>) =>
      run(async (terminal) => {
        const { printCompare } = await import('./document.ts')
        return printCompare({ ...flags, adapters }, terminal)
      }),
    )
}
