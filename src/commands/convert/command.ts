import { type Command, Option } from 'commander'
import { common, type Run } from '../flags.ts'
import { FORMATS } from '../formats.ts'
import type { ConvertFlags } from './document.ts'
import { CONVERT } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd convert adapter/ -o adapter.gguf --format gguf --base base/
  lora-svd convert lora.safetensors -o out.safetensors --format diffusers \\
    --base flux1-dev.safetensors
  lora-svd convert loha.safetensors -o plain.safetensors --format kohya
  lora-svd convert adapter/ -o mlx/ --format mlx
  lora-svd convert moe/ -o apart/ --format peft --experts separate --base base/

The change of each weight stays what it is: it is read back from what was
written, and called exact where both are the same number for number.
Another rank in another format: lora-svd resize --format.
DoRA for ComfyUI, which makes another weight of its magnitudes, is written as
whole differences (.diff), as large as the weights that it changes; --base.

Exit codes: 0 done
1 something was left out, with --drop
2 bad options or input, nothing written · 3 disk full, no permission`

/** `convert`: the same change in another format. */
export function addConvert(program: Command, run: Run): void {
  program
    .command('convert')
    .summary("an adapter in another tool's format")
    .description(
      'Writes an adapter in another format: other names and layouts, the same change of each weight. LoHa, LoKr and Tucker cores ' +
        'become plain factors, fused modules are split and split ones joined as the format has them, and the scale goes where its loaders read it.\n' +
        '<adapter> is a folder of PEFT or MLX, a GGUF file, or a .safetensors file in the names of kohya, ComfyUI or diffusers.',
    )
    .argument('<adapter>', 'an adapter folder or file')
    .addOption(new Option('-o, --out <path>', 'the folder or file to write').makeOptionMandatory())
    .addOption(new Option('--format <name>', 'what it becomes').choices(FORMATS).makeOptionMandatory())
    .addOption(new Option('--dry-run', 'say what would be done, from the headers alone').default(false))
    .addOption(new Option('-f, --force', 'replace an existing one').default(false))
    .optionsGroup('What is read:')
    .addOption(
      new Option('--base <path>', 'the base that the adapter is of; names of most formats hang on it'),
    )
    .addOption(common.init())
    .addOption(common.alpha(CONVERT.alpha))
    .addOption(common.alphaZero())
    .optionsGroup('What is written:')
    .addOption(
      new Option('--drop', 'leave out what the format has no place for; the exit code is then 1').default(
        false,
      ),
    )
    .addOption(
      new Option(
        '--layout <how>',
        'portable: one rank, zero-padded, every loader scales alike; pattern: true ranks',
      )
        .choices(CONVERT.layout.choices)
        .default('portable'),
    )
    .addOption(
      new Option(
        '--experts <how>',
        "a PEFT adapter's experts: a pair each, or one of all, as PEFT from 0.19.1 on or before has it (default: as the base)",
      ).choices(CONVERT.experts.choices),
    )
    .addOption(
      new Option(
        '--dtype <float>',
        "float type of the factors (default: the adapter's own, bf16 or f16, else f32; f32 where DoRA is written whole)",
      ).choices(CONVERT.dtype.choices),
    )
    .addOption(new Option('--base-name <name>', "the base's name on the Hub, for the config"))
    .optionsGroup('How:')
    .addOption(common.memory())
    .addHelpText('after', EXAMPLES)
    .action((adapter: string, flags: Omit<ConvertFlags, 'adapter'>) =>
      run(async (terminal) => {
        const { printConvert } = await import('./document.ts')
        return printConvert({ ...flags, adapter }, terminal)
      }),
    )
}
