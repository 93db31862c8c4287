/** What the rooms use of node:buffer and of Node's global `Buffer`. */

export const constants = {
  /** The most bytes that a browser holds in one array: V8's bound for typed arrays, which others reach too. */
  MAX_LENGTH: 2 ** 32 - 1,
  /** UTF-16 units of the longest string: V8's, the least of the browsers'. */
  MAX_STRING_LENGTH: 2 ** 29 - 24,
}

/** Characters that one call turns into a text: more would be more arguments than a call may have. */
const AT_ONCE = 8192

function latin1Of(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += AT_ONCE) {
    text += String.fromCharCode(...bytes.subarray(at, at + AT_ONCE))
  }
  return text
}

export const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
export const base64Of = (bytes: Uint8Array): string => btoa(latin1Of(bytes))

const bytesOf = (text: string, encoding?: 'base64'): Uint8Array =>
  encoding === 'base64'
    ? Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
    : new TextEncoder().encode(text)

/** Words of both where that can be: four bytes at a time tell whether they differ. */
function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  let at = 0
  if (a.byteOffset % 4 === 0 && b.byteOffset % 4 === 0) {
    const words = length >> 2
    const [x, y] = [a, b].map(({ buffer, byteOffset }) => new Uint32Array(buffer, byteOffset, words))
    let i = 0
    while (i < words && x[i] === y[i]) i++
    at = 4 * i
  }
  while (at < length && a[at] === b[at]) at++
  return at
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const at = firstDifference(a, b)
  if (at < Math.min(a.length, b.length)) return a[at] < b[at] ? -1 : 1
  return Math.sign(a.length - b.length)
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Bytes, whose `toString('latin1')` has a character for each. */
const withText = (bytes: Uint8Array) => Object.assign(bytes, { toString: () => latin1Of(bytes) })

export const Buffer = {
  compare,
  concat,
  from: (content: string | ArrayBuffer, encoding?: 'base64') =>
    withText(typeof content === 'string' ? bytesOf(content, encoding) : new Uint8Array(content)),
}
