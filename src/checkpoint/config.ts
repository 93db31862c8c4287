import { basename } from 'node:path'
import { badInput, LoraSvdError } from '../errors.ts'
import { type FileIdentity, identityOf } from '../io/files.ts'
import { readTextIfThere } from '../io/source.ts'
import { quoted } from '../text/quote.ts'
import { JsonError, parseJson, parseObject } from '../text/strict-json.ts'
import { ADAPTER_CONFIG_FILE } from './folder.ts'

/** The configs of real models have a few kilobytes; those with label lists or long patterns some hundred. */
const CONFIG_BYTE_LIMIT = 16 * 2 ** 20

export type Config = Readonly<Record<string, unknown>>

/** What stands beside a checkpoint's tensors. */
export interface Configs {
  /** config.json of a model. */
  readonly config?: Config
  /** adapter_config.json of an adapter. */
  readonly adapterConfig?: Config
  readonly files: readonly FileIdentity[]
  readonly warnings: readonly string[]
}

/**
 * Reads the configs that are there. Throws `bad-input` for an adapter's, on which the scale of all its factors hangs, that isn't one JSON
 * object; of a model's little is used, and one that can't be read is a warning.
 */
export async function readConfigs(paths: readonly string[]): Promise<Configs> {
  let configs: Configs = { files: [], warnings: [] }
  for (const path of paths) {
    const isStrict = basename(path) === ADAPTER_CONFIG_FILE
    try {
      const found = await readTextIfThere(path, CONFIG_BYTE_LIMIT)
      if (found === undefined) continue
      const value = isStrict ? parseObject(found.text) : parseJson(found.text)
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw new JsonError('it holds no object')
      }
      const files = [...configs.files, ...identityOf(path, found.stamp)]
      configs = { ...configs, files, [isStrict ? 'adapterConfig' : 'config']: value }
    } catch (error) {
      const problem = problemOf(error, path, isStrict)
      if (isStrict) throw problem
      configs = { ...configs, warnings: [...configs.warnings, `${problem.message}; gone on without it`] }
    }
  }
  return configs
}

/** Why a config can't be read; anything else that was thrown is thrown on. */
function problemOf(error: unknown, file: string, isStrict: boolean): LoraSvdError {
  if (error instanceof LoraSvdError) return error
  if (!(error instanceof JsonError)) throw error
  // a piece of the text is in the message
  const problem = isStrict
    ? `is no right JSON: ${error.message}; correct it or fetch it again`
    : `can't be read as JSON (${quoted(error.message).slice(1, -1)})`
  return badInput(`${file}: ${problem}`, { file })
}
