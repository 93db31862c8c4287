import { type Command, Option } from 'commander'
import { addLimits, addRules, byteSize, common, type Run } from '../flags.ts'
import { FORMATS } from '../formats.ts'
import type { ResizeFlags } from './document.ts'
import { SUM } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd resize adapter/ -o small/ --rank 16
  lora-svd resize adapter/ -o small/ --error 0.1 --layout pattern
  lora-svd resize adapter/ -o small/ --rank 8 --moments c.safetensors
  lora-svd resize sdxl-lora.safetensors -o small.safetensors --budget 40MiB

In the words of kohya's resize_lora.py:
  --new_rank N      --rank N, or --max-rank N beside another rule
  sv_fro p          the same as --energy p²: it keeps Σσ² ≥ p²·Σσ²
  sv_cumulative p, sv_ratio p   sums and ratios of σ, which bound no error;
                                --energy and --error do

Exit codes: 0 done
1 what was written misses what was asked for, or lacks what nobody reads
2 bad options or input, nothing written · 3 disk full, no permission`

/** Options of what is written, which `resize` and `merge` share. */
export function addSumOptions(command: Command): void {
  command.addOption(
    new Option('--budget <size>', 'the whole result in so many bytes, spread for the least error').argParser(
      byteSize,
    ),
  )
  addLimits(command)
  command
    .addOption(new Option('--uniform', 'all modules get the largest rank chosen').default(false))
    .optionsGroup('What is read:')
    .addOption(new Option('--base <path>', 'the base: where names and files do not tell how its weights lie'))
    .addOption(new Option('--base-name <name>', 'what the adapter calls its base, as org/name on the Hub'))
    .addOption(common.init())
    .addOption(common.alpha(SUM.alpha))
    .addOption(common.alphaZero())
    .optionsGroup('What is written:')
    .addOption(
      new Option('--format <name>', "the format (default: the adapter's own); most need --base").choices(
        FORMATS,
      ),
    )
    .addOption(
      new Option(
        '--layout <how>',
        'portable: one rank, zero-padded, every loader scales alike; pattern: true ranks',
      )
        .choices(SUM.layout.choices)
        .default('portable'),
    )
    .addOption(
      new Option(
        '--dtype <float>',
        "float type of the factors (default: the adapter's own, bf16 or f16, else f32)",
      ).choices(SUM.dtype.choices),
    )
    .optionsGroup('How:')
    .addOption(common.memory())
}

/** `resize`: an adapter at another rank. */
export function addResize(program: Command, run: Run): void {
  const command = program
    .command('resize')
    .summary('an adapter at another rank, as good as that rank can be')
    .description(
      'Gives a LoRA, LoHa or LoKr adapter another rank: the best factors of each rank, found from the factors alone, read back ' +
        'from disk and set beside the best error possible. What is stored whole is kept; the scale goes into the factors.\n' +
        '<adapter> is a PEFT folder, or a .safetensors file in the names of kohya, ComfyUI or diffusers; the result is of the same kind.',
    )
    .argument('<adapter>', 'an adapter folder or file, in any format that is read')
    .addOption(new Option('-o, --out <path>', 'the folder or file to write').makeOptionMandatory())
    .addOption(new Option('--dry-run', 'say what would be done, from the headers alone').default(false))
    .addOption(new Option('-f, --force', 'replace an existing one').default(false))
  addRules(command, { energy: '‖Δ‖_F² of each module', error: 'the least rank with ‖Δ − B·A‖_F ≤ e·‖Δ‖_F' })
  addSumOptions(command)
  command.addOption(common.moments())
  command.addHelpText('after', EXAMPLES).action((adapter: string, flags: Omit<ResizeFlags, 'adapter'>) =>
    run(async (terminal) => {
      const { printResize } = await import('./document.ts')
      return printResize({ ...flags, adapter }, terminal)
    }),
  )
}
