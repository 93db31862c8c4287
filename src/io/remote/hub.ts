import { badInput, LoraSvdError } from '../../errors.ts'
import { didYouMean } from '../../text/compare.ts'
import { counted, quoted } from '../../text/quote.ts'
import {
  encodedPath,
  fileUrl,
  type HubPlace,
  hubAddress,
  hubAddressOf,
  isCommit,
  isRepositoryPath,
  parseHubAddress,
} from './address.ts'
import { network } from './network.ts'
import type { Asked } from './refusals.ts'
import { get, persistently } from './request.ts'

/** The Hub's list of a repository: some hundred bytes a file; the largest have tens of thousands of files. */
const LIST_BYTE_LIMIT = 32 * 2 ** 20

/** Names listed at most: they must fit one line. */
const LISTED = 6

/**
 * The address by which a file elsewhere is read from now on: of the Hub's at the commit that its revision means now, asked for once in a run,
 * of any other as it is. A page of the Hub is the file or repository that it shows. Throws `bad-input` for what is no address,
 * isn't there, or may not be read, and where nothing may be fetched.
 */
export async function pinned(address: string): Promise<string> {
  if (network().isOffline) {
    throw badInput(
      `${quoted(address).slice(1, -1)}: HF_HUB_OFFLINE is set, so nothing is fetched; unset it, or name a file or a model in the cache`,
      { file: address },
    )
  }
  if (!address.startsWith('hf://')) {
    const page = URL.canParse(address) ? hubAddressOf(new URL(address), network().endpoint) : undefined
    return page === undefined ? fileUrl(address).href : pinned(page)
  }
  const place = parseHubAddress(address)
  const revision = await commitOf(place)
  const found = { ...place, revision }
  if (place.path !== '' && kindElsewhere(hubAddress(found)) === 'missing') throw nothingThere(found)
  return hubAddress(found)
}

/** What a run names a path by: of an address the one that was read, with its commit. */
export const asRead = (path: string): string => network().readAs.get(path) ?? path

/** The commit of a place; the list of its files is then known too. */
async function commitOf({ repository, revision }: HubPlace): Promise<string> {
  const { pins, listings } = network()
  const key = `${repository}@${revision}`
  const known = pins.get(key)
  if (known !== undefined) return known
  const { commit, files } = await listOf(repository, revision)
  pins.set(key, commit)
  pins.set(`${repository}@${commit}`, commit)
  listings.set(hubAddress({ repository, revision: commit, path: '' }), withoutOddNames(repository, files))
  return commit
}

/** The files that can be files here; of others is told that they are left out. */
function withoutOddNames(repository: string, files: readonly string[]): string[] {
  const odd = files.filter((file) => !isRepositoryPath(file))
  if (odd.length > 0) {
    const listed = odd.slice(0, LISTED).map(quoted).join(', ') + (odd.length > LISTED ? ', …' : '')
    network().notice(
      `hf://${repository}: ${counted(odd.length, 'name')} in its list can't be of files here, and nothing is read of them: ${listed}`,
    )
  }
  return files.filter(isRepositoryPath)
}

async function listOf(repository: string, revision: string): Promise<{ commit: string; files: string[] }> {
  const { endpoint, token } = network()
  const address = `hf://${repository}${revision === 'main' ? '' : `@${revision}`}`
  const url = new URL(`${endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}`)
  const asked: Asked = { address, url, token: token(), page: `${endpoint}/${repository}` }
  const text = await persistently(address, () =>
    get(asked, undefined, async ({ chunks }) => {
      const parts: Uint8Array[] = []
      let bytes = 0
      for await (const chunk of chunks) {
        bytes += chunk.length
        if (bytes > LIST_BYTE_LIMIT) {
          throw badInput(
            `${address}: the list of its files is longer than ${LIST_BYTE_LIMIT} bytes; download it`,
            {
              file: address,
            },
          )
        }
        parts.push(chunk)
      }
      return Buffer.concat(parts).toString('utf8')
    }),
  )
  return parseList(text, address, url.host)
}

function parseList(text: string, address: string, host: string): { commit: string; files: string[] } {
  const refused = () =>
    badInput(`${address}: ${host} doesn't answer as the Hub does; check HF_ENDPOINT`, { file: address })
  let list: { sha?: unknown; siblings?: unknown } | null
  try {
    list = JSON.parse(text)
  } catch {
    throw refused()
  }
  const { sha, siblings } = list ?? {}
  if (typeof sha !== 'string' || !isCommit(sha) || !Array.isArray(siblings)) throw refused()
  const files = siblings
    .map((sibling: { rfilename?: unknown } | null) => sibling?.rfilename)
    .filter((name): name is string => typeof name === 'string')
  return { commit: sha, files: files.sort() }
}

/** What an address names that `pinned` gave, or one beside it. Of a server that isn't the Hub only asking tells. */
export function kindElsewhere(address: string): 'folder' | 'file' | 'missing' {
  if (!address.startsWith('hf://')) return 'file'
  const { path } = parseHubAddress(address)
  const files = filesOf(address)
  if (path === '' || files.some((file) => file.startsWith(`${path}/`))) return 'folder'
  return files.includes(path) ? 'file' : 'missing'
}

/** The names of what is in a folder of a repository, sorted. */
export function entriesElsewhere(address: string): string[] {
  const { path } = parseHubAddress(address)
  const within = path === '' ? '' : `${path}/`
  const names = filesOf(address)
    .filter((file) => file.startsWith(within))
    .map((file) => file.slice(within.length).split('/')[0])
  return [...new Set(names)].sort()
}

/** Whether a file is there; what another server than the Hub doesn't give counts as not there. */
export async function isThere(address: string): Promise<boolean> {
  if (address.startsWith('hf://')) return kindElsewhere(address) === 'file'
  const asked = { ...(await askFor(address)), range: { start: 0, end: 1 } }
  try {
    await persistently(address, () => get(asked, undefined, async () => {}))
    return true
  } catch (error) {
    if (error instanceof LoraSvdError && error.code === 'bad-input') return false
    throw error
  }
}

function filesOf(address: string): readonly string[] {
  const place = parseHubAddress(address)
  return network().listings.get(hubAddress({ ...place, path: '' })) ?? []
}

function nothingThere(place: HubPlace) {
  const { repository, path } = place
  const files = filesOf(hubAddress(place))
  const near = didYouMean(path, files)
  const more = files.length > LISTED ? ', …' : ''
  const listed = near || `; it has ${files.slice(0, LISTED).map(quoted).join(', ')}${more}`
  return badInput(`hf://${repository}: has no file or folder ${quoted(path)}${listed}`, {
    file: hubAddress(place),
  })
}

/** What is asked of a server for a file. */
export async function askFor(address: string): Promise<Asked> {
  if (!address.startsWith('hf://')) return { address, url: fileUrl(address) }
  const place = parseHubAddress(address)
  const { repository, revision, path } = isCommit(place.revision)
    ? place
    : { ...place, revision: await commitOf(place) }
  const { endpoint, token } = network()
  return {
    address,
    url: new URL(`${endpoint}/${repository}/resolve/${revision}/${encodedPath(path)}`),
    token: token(),
    page: `${endpoint}/${repository}`,
  }
}
