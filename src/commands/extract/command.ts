import { type Command, Option } from 'commander'
import { addLimits, addRules, byteSize, common, patterns, type Run } from '../flags.ts'
import { addShardFlags, argumentsOf } from '../shard-flags.ts'
import type { ExtractFlags } from './document.ts'
import { EXTRACT } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd extract base/ tuned/ -o adapter/ --rank 16
  lora-svd extract base/ tuned/ -o adapter/ --budget 40MiB --dtype bf16
  lora-svd extract base/ tuned/ -o adapter/ --error 0.1 --carry-rest
  lora-svd extract base/ tuned/ -o adapter/ --rank 16 --moments c.safetensors
  lora-svd extract base/ tuned/ -o adapter/ --rank 16 --dry-run
  lora-svd extract base.safetensors my.safetensors -o lora.safetensors --rank 32
  lora-svd extract base-Q4_K_M.gguf tuned/ -o adapter/ --rank 64
  lora-svd extract base/ tuned/ -o adapter/ --rank 16 --shard 2/4
  lora-svd extract base/ tuned/ -o adapter/ --rank 16 --join

A run that was killed goes on where it was when the same command is given again.

Exit codes: 0 done
1 what was written misses what was asked for, or not all has its counterpart
2 bad options or input, nothing written · 3 disk full, no permission`

/** `extract`: a LoRA adapter from a base and its fine-tune. */
export function addExtract(program: Command, run: Run): void {
  const command = program
    .command('extract')
    .summary('a LoRA adapter from a base and its fine-tune')
    .description(
      'Factors what a fine-tune changed into an adapter, reads it back from disk, and reports the error of each ' +
        'layer beside the best one possible.\n' +
        '<base> and <tuned> are model folders, .safetensors files, indices of shards, org/name in the local cache, or hf://org/name; <base> a .gguf too.',
    )
    .argument('<base>', 'the weights before')
    .argument('<tuned>', 'the weights after')
    .argument('[partial...]', 'with --join: the folders in which other machines have left shards')
    .addOption(
      new Option('-o, --out <path>', 'the adapter: a folder of PEFT or MLX, or a file').makeOptionMandatory(),
    )
    .addOption(
      new Option('--dry-run', 'say what would be done, before anything is decomposed').default(false),
    )
    .addOption(new Option('-f, --force', 'replace an existing adapter').default(false))
  addRules(command, { energy: '‖Δ‖_F²', error: 'the least rank with ‖Δ − B·A‖_F ≤ e·‖Δ‖_F' })
  command
    .addOption(
      new Option(
        '--budget <size>',
        'the whole adapter in so many bytes, spread for the least error',
      ).argParser(byteSize),
    )
    .addOption(
      new Option('--noise-floor', 'what stands above the rounding of the stored dtypes').default(false),
    )
  addLimits(command)
  command
    .addOption(new Option('--uniform', 'all layers get the largest rank chosen').default(false))
    .addOption(common.moments())
    .optionsGroup('What is carried:')
    .addOption(
      patterns('--include <glob>', 'factor only tensors with such a name (* crosses dots; repeatable)'),
    )
    .addOption(patterns('--exclude <glob>', 'factor no tensors with such a name (repeatable)'))
    .addOption(patterns('--save-full <module>', 'store this module whole (repeatable)'))
    .addOption(new Option('--carry-rest', 'store whole whatever factors cannot carry').default(false))
    .addOption(new Option('--embeddings', 'factor embeddings too').default(false))
    .addOption(new Option('--experts', 'factor stacked experts too; few loaders read them').default(false))
    .addOption(new Option('--no-text-encoder', "leave a diffusion model's text encoders out"))
    .optionsGroup('What is written:')
    .addOption(
      new Option(
        '--layout <how>',
        'portable: one rank, zero-padded, every loader scales alike; pattern: true ranks',
      )
        .choices(EXTRACT.layout.choices)
        .default('portable'),
    )
    .addOption(
      new Option(
        '--format <name>',
        'whose adapter it is (default: comfyui for a diffusion model, else peft)',
      ).choices(EXTRACT.format.choices),
    )
    .addOption(
      new Option('--dtype <float>', "float type of the factors (default: the tuned weights' own)").choices(
        EXTRACT.dtype.choices,
      ),
    )
    .addOption(new Option('--no-distribute-scale', 'B = U·S and A = Vᵀ instead of √S on both'))
    .addOption(new Option('--base-name <name>', 'what the adapter calls its base, as org/name on the Hub'))
    .optionsGroup('How:')
    .addOption(common.certify())
    .addOption(common.seed())
    .addOption(common.allowUnpaired())
    .addOption(common.memory())
    .addOption(
      new Option('--restart', 'discard what an unfinished run with other options has left').default(false),
    )
  addShardFlags(command, {
    part: 'compute this part of the layers alone, into <out>.partial',
    join: 'assemble what all shards have computed, in <out>.partial and in the folders given after <tuned>',
  })
  command
    .addHelpText('after', EXAMPLES)
    .action((base: string, tuned: string, parts: readonly string[], flags: ExtractCommandFlags) =>
      run(async (terminal) => {
        argumentsOf(command, ['base', 'tuned'], [base, tuned, ...parts], flags)
        const { printExtract } = await import('./document.ts')
        return printExtract({ ...flags, base, tuned, join: flags.join ? parts : undefined }, terminal)
      }),
    )
}

type ExtractCommandFlags = Omit<ExtractFlags, 'base' | 'tuned' | 'join'> & { readonly join: boolean }
