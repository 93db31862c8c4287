import { type Command, Option } from 'commander'
import { addLimits, addRules, common, type Run } from '../flags.ts'
import type { FactorFlags } from './document.ts'
import { FACTOR } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd factor W.npy -o W-lora.safetensors --energy 0.99
  lora-svd factor model.safetensors --tensor lm_head.weight -o W.npz --rank 16
  lora-svd factor W.csv -o W.safetensors --error 0.05 --dtype f16
  cat W.npy | lora-svd factor - -o W.npz --rank 8 --json

Exit codes: 0 done · 1 what was written misses the --energy or --error asked for
2 bad options or input, nothing written · 3 disk full, no permission`

/** `factor`: one matrix of one's own, as its two factors. */
export function addFactor(program: Command, run: Run): void {
  const command = program
    .command('factor')
    .summary('one matrix of your own as two factors')
    .description(
      'Factors a matrix W into lora_B = U_r·diag(S_r) and lora_A = V_rᵀ, reads them back from disk, and reports ' +
        'their error beside the best one possible.\n' +
        '<matrix> is .npy, .npz, .csv, .tsv, text, or a tensor of .safetensors or .gguf; - is standard input.',
    )
    .argument('<matrix>', 'the file that holds W, or -')
    .addOption(new Option('-o, --out <path>', 'output: .safetensors or .npz').makeOptionMandatory())
    .addOption(new Option('--tensor <name>', 'which tensor or array of the file'))
    .addOption(common.header())
    .addOption(new Option('-f, --force', 'replace an existing output').default(false))
  addRules(command, { energy: '‖W‖_F²', error: 'the least rank with ‖W − B·A‖_F ≤ e·‖W‖_F' })
  addLimits(command)
  command
    .addOption(common.moments())
    .optionsGroup('The bound on the best error:')
    .addOption(common.certify())
    .addOption(common.seed())
    .optionsGroup('What is written:')
    .addOption(
      new Option('--dtype <float>', "float type of the factors (default: the input's own)").choices(
        FACTOR.dtype.choices,
      ),
    )
    .addHelpText('after', EXAMPLES)
    .action((matrix: string, flags: Omit<FactorFlags, 'matrix'>) =>
      run(async (terminal) => {
        const { printFactor } = await import('./document.ts')
        return printFactor({ ...flags, matrix }, terminal)
      }),
    )
}
