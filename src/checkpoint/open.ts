import { homedir } from 'node:os'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import { withoutLinks } from '../io/files.ts'
import { readConfigs } from './config.ts'
import { entranceItself, entranceOf } from './folder.ts'
import { folderMeant, type Surroundings } from './hub-cache.ts'
import { type JoinedTensors, joinShards, readShardIndex } from './shards.ts'
import { type OpenedFile, openFiles } from './stored.ts'
import type { Checkpoint } from './types.ts'

export interface OpenOptions extends Partial<Surroundings> {
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
  /** Whether the first row of a text is names. */
  readonly header?: HeaderChoice | undefined
}

/**
 * Opens a checkpoint of whatever form: a safetensors, .npy, .npz or text file (`-`: standard input), an index of shards, a
 * folder of a model or an adapter, a repository's folder in the Hugging Face cache, or `org/name`, which is looked up in that
 * cache without network. Reads headers and configs alone; no file stays open. Throws `bad-input` for what is missing,
 * broken or of another format, naming the file.
 */
export async function openCheckpoint(
  path: string,
  { stdin, header, env = process.env, home = homedir() }: OpenOptions = {},
): Promise<Checkpoint> {
  const folder = path === '-' ? undefined : await folderMeant(path, { env, home })
  const entrance = folder === undefined ? entranceItself(path) : await entranceOf(folder)
  const index = entrance.isIndex ? await readShardIndex(entrance.file) : undefined
  const opened = await (index === undefined
    ? openFiles([entrance.file], { stdin, header, mayBePipe: folder === undefined })
    : openFiles(index.paths, { only: 'safetensors' }))
  const { tensors, warnings } = index === undefined ? alone(opened[0]) : joinShards(opened, index)
  const configs = await readConfigs(entrance.configs)
  const identities = opened.flatMap(({ identity }) => identity)
  return {
    path,
    ...(entrance.folder !== undefined && { folder: await withoutLinks(entrance.folder) }),
    tensors,
    metadata: opened[0].metadata,
    ...configs,
    files: [...identities, ...(index?.identity ?? []), ...configs.files],
    warnings: [...entrance.warnings, ...warnings, ...configs.warnings],
  }
}

const alone = ({ tensors, warnings }: OpenedFile): JoinedTensors => ({
  tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
  warnings,
})
