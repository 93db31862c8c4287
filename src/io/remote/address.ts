import { dirname, join } from 'node:path'
import { badInput } from '../../errors.ts'
import { quoted } from '../../text/quote.ts'

/** Addresses of files that lie elsewhere, which stand wherever a path may: `hf://org/name@revision/path`, `https://host/file`. */

/** Whether a path is such an address. */
export const isAddress = (path: string): boolean => /^(?:hf|https?):\/\//.test(path)

/** The path of what a folder holds under a name. */
export const inFolder = (folder: string, name: string): string =>
  isAddress(folder) ? `${folder}/${name}` : join(folder, name)

/** The folder in which a file lies. */
export const folderOf = (file: string): string =>
  isAddress(file) ? file.slice(0, file.lastIndexOf('/')) : dirname(file)

/** A place on the Hub. */
export interface HubPlace {
  /** `org/name`. */
  readonly repository: string
  /** A branch, a tag or a commit. */
  readonly revision: string
  /** Of a file or folder in it; '' is the repository itself. */
  readonly path: string
}

const SEGMENT = '[A-Za-z0-9][\\w.-]*'

/** Revisions of pull requests and converted files have slashes (huggingface_hub/hf_file_system.py). */
const HUB_ADDRESS = new RegExp(
  `^hf://(${SEGMENT}/${SEGMENT})(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(.*))?$`,
)

/** A commit of git, which never changes. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision)

/** Whether a name in a repository can be a path here: git allows more, and a list may say anything. */
export const isRepositoryPath = (path: string): boolean =>
  path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/[\\\0\r\n]/.test(part))

/** What an address of the Hub names. Throws `bad-input` for what is none. */
export function parseHubAddress(address: string): HubPlace {
  const refused = (problem: string) => badInput(`${quoted(address)} ${problem}`, { file: address })
  const [, repository, revision = 'main', path = ''] = HUB_ADDRESS.exec(address) ?? []
  const kind = /^hf:\/\/(datasets|spaces|buckets)\//.exec(address)?.[1]
  if (kind !== undefined) throw refused(`is one of the Hub's ${kind}; models are read: hf://org/name`)
  if (repository === undefined || /--|\.\./.test(repository)) {
    throw refused(
      'names no repository of the Hub; write hf://org/name, hf://org/name@revision or hf://org/name/file',
    )
  }
  const bare = path.replace(/\/$/, '')
  if (path !== '' && !isRepositoryPath(bare))
    throw refused('has a path that names nothing in a repository; write it as the Hub shows it')
  return { repository, revision: decoded(revision), path: bare }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The address of a place at a commit. */
export const hubAddress = ({ repository, revision, path }: HubPlace): string =>
  `hf://${repository}@${revision}${path === '' ? '' : `/${path}`}`

/** The path as a part of a URL. */
export const encodedPath = (path: string): string => path.split('/').map(encodeURIComponent).join('/')

/** Pages of a repository, and its files, as a browser's address bar and "copy download link" have them. */
const HUB_PAGE = new RegExp(`^/(${SEGMENT}/${SEGMENT})(?:/(?:resolve|blob|raw|tree)/([^/]+)(?:/(.*))?)?/?$`)

/** The address hf:// of what a URL of the Hub shows; undefined of any other URL. */
export function hubAddressOf(url: URL, endpoint: string): string | undefined {
  const hub = new URL(endpoint)
  if (url.origin !== hub.origin || /^\/(?:datasets|spaces|api)\//.test(url.pathname)) return undefined
  const [, repository, revision, path] = HUB_PAGE.exec(url.pathname) ?? []
  if (repository === undefined) return undefined
  const at = revision === undefined ? '' : `@${revision}`
  return `hf://${repository}${at}${path ? `/${decoded(path)}` : ''}`
}

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/

/** Whether nobody on the way can read or change what goes to a URL and comes from it. */
export const isSafe = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' || LOOPBACK.test(hostname)

/** Whether one host may send on to another: never from https to http, nor from this machine to plain http elsewhere. */
export const maySendOn = (from: URL, to: URL): boolean =>
  to.protocol === 'https:' ||
  (from.protocol === 'http:' && to.protocol === 'http:' && (isSafe(to) || !isSafe(from)))

/** The URL of a file that isn't the Hub's. Throws `bad-input` for one that isn't safe, or that would show a secret in reports. */
export function fileUrl(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined
  const shown = quoted(address.replace(/[?#].*$/s, '').replace(/\/\/[^/]*@/, '//'))
  const refused = (problem: string) => badInput(`${shown} ${problem}`, { file: shown.slice(1, -1) })
  if (url === undefined || url.port === '0') throw refused('is no right address; write https://host/file')
  if (url.username !== '' || url.password !== '')
    throw refused('comes with a name and a password, which reports would show; download the file')
  if (url.search !== '' || url.hash !== '')
    throw refused(
      'comes with a query (?…), which may hold a secret and reports would show; leave it out, or download the file',
    )
  if (!isSafe(url)) throw refused('is read over plain http, on which anyone may change it; use https://')
  return url
}
