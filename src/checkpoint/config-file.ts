import { badInput, LoraSvdError } from '../errors.ts'
import { quoted } from '../formats/quote.ts'
import { JsonError, jsonReader, parseJson } from '../formats/strict-json.ts'
import { readTextFile } from './text-file.ts'
import type { FileIdentity } from './types.ts'

/** The configs of real models have a few kilobytes; those with label lists or long patterns some hundred. */
const CONFIG_BYTE_LIMIT = 16 * 2 ** 20

export type Config = Readonly<Record<string, unknown>>

/** An adapter's config, on which the scale of all its factors hangs. Throws `bad-input` for anything but one JSON object. */
export async function readStrictConfig(file: string): Promise<{ config: Config; identity: FileIdentity[] }> {
  const { text, stamp } = await readTextFile(file, CONFIG_BYTE_LIMIT)
  const members = new Map<string, unknown>()
  const json = jsonReader(text)
  try {
    json.object((key) => {
      if (members.has(key)) json.fail(`the key ${quoted(key)} comes twice`)
      members.set(key, JSON.parse(json.skip()))
    })
    json.end()
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw badInput(`${file}: is no right JSON: ${error.message}; correct it or fetch it again`, { file })
  }
  return { config: Object.fromEntries(members), identity: identityOf(file, stamp) }
}

/** A model's config, of which little is used: one that can't be read is a warning. */
export async function readLenientConfig(
  file: string,
): Promise<{ config?: Config; identity: FileIdentity[]; warnings: string[] }> {
  try {
    const { text, stamp } = await readTextFile(file, CONFIG_BYTE_LIMIT)
    const config = parseJson(text)
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      throw new JsonError('it holds no object')
    }
    return { config: config as Config, identity: identityOf(file, stamp), warnings: [] }
  } catch (error) {
    if (error instanceof LoraSvdError)
      return { identity: [], warnings: [`${error.message}; gone on without it`] }
    if (!(error instanceof JsonError)) throw error
    // a piece of the text is in the message
    const problem = quoted(error.message).slice(1, -1)
    return { identity: [], warnings: [`${file}: can't be read as JSON (${problem}); gone on without it`] }
  }
}

const identityOf = (path: string, stamp: Omit<FileIdentity, 'path'> | undefined): FileIdentity[] =>
  stamp === undefined ? [] : [{ path, ...stamp }]
