import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { badInput, errnoOf, osError } from '../../errors.ts'

/** What the environment says of the Hub, by the rules of Hugging Face's own tools (huggingface_hub/constants.py, utils/_auth.py). */

type Env = Readonly<Record<string, string | undefined>>

/** Where the process runs, as far as finding Hugging Face's files needs it. */
export interface Surroundings {
  readonly env: Env
  /** The user's home folder. */
  readonly home: string
}

const expanded = (path: string, home: string) => (/^~(?=\/|$)/.test(path) ? join(home, path.slice(1)) : path)

/** The folder in which Hugging Face's tools keep their files. */
export function huggingFaceFolder({ env, home }: Surroundings): string {
  if (env.HF_HOME) return expanded(env.HF_HOME, home)
  const caches = env.XDG_CACHE_HOME ? expanded(env.XDG_CACHE_HOME, home) : join(home, '.cache')
  return join(caches, 'huggingface')
}

/** The folder in which they keep what they download. */
export function hubCacheFolder({ env, home }: Surroundings): string {
  const own = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE
  return own ? expanded(own, home) : join(huggingFaceFolder({ env, home }), 'hub')
}

const PUBLIC_HUB = 'https://huggingface.co'

/** The address of the Hub, without a slash at its end. Throws `bad-input` where HF_ENDPOINT is none. */
export function hubEndpoint({ HF_ENDPOINT }: Env): string {
  if (!HF_ENDPOINT) return PUBLIC_HUB
  const url = URL.canParse(HF_ENDPOINT) ? new URL(HF_ENDPOINT) : undefined
  const isRight = url !== undefined && /^https?:$/.test(url.protocol) && url.port !== '0'
  if (!isRight || url.search !== '' || url.username !== '')
    throw badInput(
      'HF_ENDPOINT is no address of a server; set it to one such as https://huggingface.co, or unset it',
    )
  return url.href.replace(/\/+$/, '')
}

const isSet = (value: string | undefined) => /^(?:1|on|yes|true)$/i.test(value ?? '')

/** Whether nothing may be fetched. */
export const isOffline = (env: Env): boolean => isSet(env.HF_HUB_OFFLINE) || isSet(env.TRANSFORMERS_OFFLINE)

/** Whether links may be made in the cache. */
export const mayLink = (env: Env): boolean => !isSet(env.HF_HUB_DISABLE_SYMLINKS)

/**
 * The token that says who asks the Hub: HF_TOKEN, or what `hf auth login` left in a file. Throws `bad-input` for what no header can
 * hold, without showing it, and `system` where the file can't be read.
 */
export function hubToken({ env, home }: Surroundings): string | undefined {
  const given = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN
  if (given?.trim()) return asToken(given, 'HF_TOKEN')
  if (isSet(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  const file = env.HF_TOKEN_PATH
    ? expanded(env.HF_TOKEN_PATH, home)
    : join(huggingFaceFolder({ env, home }), 'token')
  try {
    return asToken(readFileSync(file, 'utf8'), file)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    if (errnoOf(error) === undefined) throw error
    throw osError(error, "read the Hub's token", file)
  }
}

function asToken(text: string, from: string): string | undefined {
  const token = text.trim()
  if (/^[\x21-\x7e]*$/.test(token)) return token || undefined
  throw badInput(`${from}: holds what is no token of the Hub; log in again: hf auth login`)
}
