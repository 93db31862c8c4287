import { ADAPTER_FOLDER } from '../checkpoint/folder.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { assertNotRead } from '../io/files.ts'
import { assertOutputFree } from '../io/place-folder.ts'
import { assertWritable } from '../io/write-atomic.ts'
import type { AdapterFormat } from '../lora/model.ts'
import { NAMES } from './spelling.ts'

/** How the names of files end by which every tool knows them; a folder so called would be opened as a file. */
const FILE_ENDINGS = /\.(?:safetensors|gguf)$/

/** Formats that keep a config beside the tensors. */
const IN_FOLDERS: ReadonlySet<AdapterFormat> = new Set(['peft', 'mlx'])

/**
 * Checks that a result can be put at `output`, before work is spent on it: a folder for PEFT and MLX, one file for other formats, and none
 * of what is read. Throws `output-exists`, `bad-input`, and `system` where the permission is missing.
 */
export async function assertResultFree(
  format: AdapterFormat,
  inputs: readonly Checkpoint[],
  { output, force }: { readonly output: string; readonly force: boolean },
): Promise<void> {
  if (IN_FOLDERS.has(format)) {
    if (FILE_ENDINGS.test(output))
      throw wrongName(
        output,
        `is the name of a file, and an adapter of ${NAMES[format]} is a folder; name one`,
      )
    return assertOutputFree(output, ADAPTER_FOLDER, force, inputs)
  }
  const files = inputs.flatMap((input) => input.files)
  await assertNotRead({ '--out': output }, files)
  await assertWritable(output, { force, onlyFile: true })
  const ending = format === 'gguf' ? '.gguf' : '.safetensors'
  if (!output.endsWith(ending)) {
    throw wrongName(
      output,
      `the result is one file of ${NAMES[format]}; give it a name that ends in ${ending}`,
    )
  }
}

const wrongName = (output: string, problem: string) => badInput(`${output}: ${problem}`, { file: output })
