/** What the rooms use of node:path, for paths between slashes: a browser's files have no others. */

export const sep = '/'

/** The parts of a path without `.`, doubled slashes, and what `..` takes back. */
function normalized(path: string): string {
  const isRooted = path.startsWith('/')
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.length > 0 && parts[parts.length - 1] !== '..') parts.pop()
    else if (!isRooted) parts.push(part)
  }
  return (isRooted ? '/' : '') + parts.join('/') || (isRooted ? '/' : '.')
}

export const join = (...paths: string[]): string => normalized(paths.filter((path) => path !== '').join('/'))

/** As if `/` were the folder that one is in. */
export function resolve(...paths: string[]): string {
  const from = paths.findLastIndex((path) => path.startsWith('/'))
  return normalized(`/${paths.slice(Math.max(0, from)).join('/')}`)
}

export function basename(path: string, ending = ''): string {
  const name = path.replace(/\/+$/, '').replace(/^.*\//s, '')
  return name.endsWith(ending) && name !== ending ? name.slice(0, name.length - ending.length) : name
}

export function dirname(path: string): string {
  const bare = path.replace(/(?<=.)\/+$/, '')
  const at = bare.lastIndexOf('/')
  if (at < 0) return '.'
  return bare.slice(0, at).replace(/\/+$/, '') || '/'
}

export function extname(path: string): string {
  const name = basename(path)
  return name === '..' ? '' : (/(?<=[^/])\.[^./]*$/.exec(name)?.[0] ?? '')
}
