import { type Command, Option } from 'commander'
import { integerOf, type Run } from '../flags.ts'
import type { CheckFlags } from './document.ts'
import { CHECK } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd check adapter/
  lora-svd check adapter/ --base base/ --for vllm,llama.cpp --max-rank 64
  lora-svd check style.safetensors --for all --fast --json

Loaders: PEFT, vLLM, SGLang, llama.cpp, TensorRT-LLM, MLX, diffusers, ComfyUI,
kohya, or all. What is said of them was read in their sources; --json has the
file and the date of each fact.

In GitHub Actions findings are annotations of the run too.

Exit codes: 0 every loader loads all of it as it is meant
1 one refuses it, loads part or nothing, or scales it wrongly; or the file has a
  defect that is an error
2 bad options, or no adapter · 3 the machine failed`

/** `check`: which loaders load an adapter. */
export function addCheck(program: Command, run: Run): void {
  program
    .command('check')
    .summary('which loaders load an adapter, which refuse it, which scale it wrongly')
    .description(
      'Says what each loader makes of an adapter: whether it loads it, part of it or nothing, refuses it, or scales it wrongly, and why; and what is ' +
        'wrong with the file itself, from half pairs to NaN.\n' +
        'Reads headers and configs, and the numbers once.',
    )
    .argument('<adapter>', 'a PEFT folder or an adapter file of any format')
    .optionsGroup('What is checked:')
    .addOption(new Option('--base <path>', 'the weights that it is for: names and shapes are held to theirs'))
    .addOption(
      new Option(
        '--for <loaders>',
        'loaders that have to load it, with commas (default: those that it is meant for)',
      ),
    )
    .addOption(
      new Option('--max-rank <r>', 'a rank above this is an error').argParser(integerOf(CHECK.maxRank)),
    )
    .addOption(
      new Option('--fast', 'headers and configs alone: no NaN, no zeros, no overflow').default(false),
    )
    .optionsGroup('The output:')
    .addOption(new Option('--sarif <file>', 'write the findings as SARIF 2.1.0 too'))
    .addOption(new Option('--force', 'replace the file of --sarif').default(false))
    .addHelpText('after', EXAMPLES)
    .action((adapter: string, flags: Omit<CheckFlags, 'adapter'>) =>
      run(async (terminal) => {
        const { printCheck } = await import('./document.ts')
        return printCheck({ ...flags, adapter }, terminal)
      }),
    )
}
