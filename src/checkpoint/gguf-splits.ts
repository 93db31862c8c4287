import { basename } from 'node:path'
import { badInput } from '../errors.ts'
import { missingOf } from '../io/files.ts'
import { folderOf, inFolder } from '../io/remote/address.ts'
import { counted, quoted } from '../text/quote.ts'
import type { JoinedTensors } from './shards.ts'
import type { OpenedFile } from './stored.ts'
import type { StoredTensor } from './types.ts'

/**
 * A model that llama-gguf-split took apart: `name-00001-of-00003.gguf` (llama_split_path of src/llama.cpp, llama.cpp@de3ff815, 2026). Each
 * file has a header of its own, which says under these keys which of how many files it is, and how many tensors all of them hold.
 */
const NAME = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/
const [COUNT, NUMBER, TENSORS] = ['split.count', 'split.no', 'split.tensors.count']

/** A name has five digits, and no model comes in so many files. */
const MOST_FILES = 1000

/** Names listed at most: they must fit one line. */
const LISTED = 3

/** All files of the model that one is a part of, in their order, or that file alone. Throws `bad-input` where some aren't there. */
export async function splitsOf(file: string): Promise<readonly string[]> {
  const [, stem, number, total] = NAME.exec(basename(file)) ?? []
  const count = Number(total)
  if (stem === undefined || count < 2 || count > MOST_FILES || Number(number) > count) return [file]
  const paths = Array.from({ length: count }, (_, i) =>
    inFolder(folderOf(file), `${stem}-${String(i + 1).padStart(5, '0')}-of-${total}.gguf`),
  )
  const missing = await missingOf(paths)
  if (missing.length === 0) return paths
  const names = missing.slice(0, LISTED).map((path) => quoted(basename(path)))
  throw badInput(
    `${file}: is one of ${count} files of a model, of which ${missing.length} ${missing.length === 1 ? 'is' : 'are'} missing: ${names.join(', ')}${missing.length > LISTED ? ', …' : ''}; fetch what is missing`,
    { file: missing[0] },
  )
}

/**
 * The tensors of all files of a GGUF model, each file checked against what it says of itself. Throws `bad-input` for files that are of
 * another split, for a tensor that is in two, and for one file of a model that is named otherwise, as the others can't be found then.
 */
export function joinSplits(files: readonly string[], opened: readonly OpenedFile[]): JoinedTensors {
  const tensors = new Map<string, StoredTensor>()
  for (const [i, { tensors: listed, metadata }] of opened.entries()) {
    const file = files[i]
    const [count, number] = [Number(metadata.get(COUNT) ?? 1), Number(metadata.get(NUMBER) ?? 0)]
    if (count !== opened.length || (count > 1 && number !== i))
      throw misplaced(file, count, number, opened.length)
    for (const tensor of listed) {
      if (tensors.has(tensor.name)) {
        throw badInput(
          `${file}: the tensor ${quoted(tensor.name)} is in another file of the model too; split it anew`,
          { file, tensor: tensor.name },
        )
      }
      tensors.set(tensor.name, tensor)
    }
  }
  const said = Number(opened[0].metadata.get(TENSORS) ?? tensors.size)
  if (opened.length > 1 && said !== tensors.size) {
    throw badInput(
      `${files[0]}: says that the model has ${counted(said, 'tensor')}, and its files hold ${tensors.size}; fetch them again`,
      { file: files[0] },
    )
  }
  return { tensors, warnings: opened.flatMap(({ warnings }) => warnings) }
}

const misplaced = (file: string, count: number, number: number, found: number) =>
  badInput(
    found === 1
      ? `${file}: is file ${number + 1} of ${count} of a model, by a name that doesn't say so; name them as llama-gguf-split does (model-00001-of-0000${Math.min(count, 9)}.gguf), or join them by llama-gguf-split --merge`
      : `${file}: says that it is file ${number + 1} of ${count}, and is named otherwise; fetch it again, or split the model anew`,
    { file },
  )
