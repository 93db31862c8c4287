import { counterStream } from './aes.ts'
import { base64Of, hexOf } from './buffer.ts'
import { sha256 } from './sha256.ts'

/** What the rooms use of node:crypto. */

export interface Hash {
  update(content: string | Uint8Array): Hash
  digest(): Uint8Array
  digest(encoding: 'hex' | 'base64'): string
}

export function createHash(algorithm: 'sha256'): Hash {
  if (algorithm !== 'sha256') throw new Error(`a page has no ${algorithm}`)
  const hash = sha256()
  const own = {
    update(content: string | Uint8Array) {
      hash.update(typeof content === 'string' ? new TextEncoder().encode(content) : content)
      return own
    },
    digest(encoding?: 'hex' | 'base64') {
      const bytes = hash.digest()
      return encoding === undefined ? bytes : encoding === 'hex' ? hexOf(bytes) : base64Of(bytes)
    },
  }
  return own as Hash
}

export function createCipheriv(algorithm: 'aes-256-ctr', key: Uint8Array, counter: Uint8Array) {
  if (algorithm !== 'aes-256-ctr') throw new Error(`a page has no ${algorithm}`)
  return { update: counterStream(key, counter) }
}

export const randomUUID = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return hexOf(bytes)
}
