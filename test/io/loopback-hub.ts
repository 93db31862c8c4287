import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll } from 'vitest'
import { inNetwork, type Patience, withPatience } from '../../src/io/remote/network.ts'

/** A server on this machine that speaks as the Hub does, and one on another port that holds the large files, as its CDN. */

export interface Repository {
  readonly commit: string
  /** By their paths. */
  readonly files: Record<string, Uint8Array | string>
  /** The token without which nothing is given. */
  readonly token?: string
  readonly isGated?: boolean
}

export interface Request {
  readonly host: 'hub' | 'cdn'
  readonly path: string
  readonly range: string | undefined
  readonly authorization: string | undefined
  readonly encoding: string | undefined
  readonly ifRange: string | undefined
}

/** What goes wrong with one answer. */
export type Fault =
  | { readonly status: number; readonly headers?: Record<string, string> }
  /** The connection ends after so many bytes, or goes on without any. */
  | { readonly dropAfter: number }
  | { readonly stallAfter: number }
  | { readonly headers: Record<string, string> }
  /** Fewer bytes are sent than were asked for, and the answer says so. */
  | { readonly most: number }
  /** Ranges aren't known. */
  | { readonly isWhole: true }

export interface LoopbackHub {
  readonly endpoint: string
  readonly cdn: string
  readonly repositories: Record<string, Repository>
  /** Files of the second server that no repository has, by their paths. */
  readonly loose: Record<string, Uint8Array | string>
  readonly requests: Request[]
  /** Bytes of files that were sent. */
  sent: number
  /** Whether the Hub says an ETag of its own where it sends on. */
  linkedEtag: boolean
  /** Of the n-th request. */
  fault: (request: Request, n: number) => Fault | undefined
}

const etags = new Map<Uint8Array | string, string>()

/** As the Hub's: of large files, here those given as bytes, their SHA-256; of texts git's name of them. */
export function etagOf(bytes: Uint8Array | string): string {
  const hash = () =>
    typeof bytes === 'string'
      ? createHash('sha1').update(`blob ${Buffer.byteLength(bytes)}\0${bytes}`)
      : createHash('sha256').update(bytes)
  const known = etags.get(bytes) ?? `"${hash().digest('hex')}"`
  etags.set(bytes, known)
  return known
}

/** Such a server for the tests of a file. */
export async function loopbackHub(repositories: Record<string, Repository>): Promise<LoopbackHub> {
  const state: { -readonly [K in keyof LoopbackHub]: LoopbackHub[K] } = {
    endpoint: '',
    cdn: '',
    repositories,
    loose: {},
    requests: [],
    sent: 0,
    linkedEtag: true,
    fault: () => undefined,
  }

  function note(host: Request['host'], { url = '', headers }: IncomingMessage): [Request, Fault | undefined] {
    const request: Request = {
      host,
      path: url,
      range: headers.range,
      authorization: headers.authorization,
      encoding: String(headers['accept-encoding']),
      ifRange: headers['if-range'] as string | undefined,
    }
    state.requests.push(request)
    return [request, state.fault(request, state.requests.length)]
  }

  function send(
    response: ServerResponse,
    { range }: Request,
    fault: Fault | undefined,
    content: Uint8Array | string,
  ) {
    const bytes = Buffer.from(content)
    const [, first = '0', last = String(bytes.length - 1)] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []
    const isPart = range !== undefined && !(fault !== undefined && 'isWhole' in fault)
    const most = fault !== undefined && 'most' in fault ? fault.most : bytes.length
    const [start, end] = isPart
      ? [Number(first), Math.min(Number(last) + 1, Number(first) + most, bytes.length)]
      : [0, bytes.length]
    if (start >= bytes.length && isPart) {
      response.writeHead(416, { etag: etagOf(content), 'content-range': `bytes */${bytes.length}` }).end()
      return
    }
    const part = bytes.subarray(start, end)
    response.writeHead(isPart ? 206 : 200, {
      etag: etagOf(content),
      'content-length': String(part.length),
      ...(isPart && { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` }),
      ...(fault !== undefined && 'headers' in fault && fault.headers),
    })
    const cut =
      fault === undefined
        ? undefined
        : 'dropAfter' in fault
          ? fault.dropAfter
          : 'stallAfter' in fault
            ? fault.stallAfter
            : undefined
    state.sent += Math.min(cut ?? part.length, part.length)
    if (cut === undefined) response.end(part)
    else
      response.write(
        part.subarray(0, cut),
        () => fault !== undefined && 'dropAfter' in fault && response.destroy(),
      )
  }

  const refuse = (response: ServerResponse, status: number, code: string) =>
    response.writeHead(status, { 'x-error-code': code }).end()

  const hub = await listening((incoming, response) => {
    const [request, fault] = note('hub', incoming)
    if (fault !== undefined && 'status' in fault) return response.writeHead(fault.status, fault.headers).end()
    const path = decodeURIComponent(request.path)
    const [, name, rest] = /^\/(?:api\/models\/)?([^/]+\/[^/]+)(\/.*)$/.exec(path) ?? []
    const repository = state.repositories[name]
    const isKnown = repository?.token === undefined || request.authorization === `Bearer ${repository.token}`
    // the Hub tells nobody what they may not see
    if (repository === undefined)
      return refuse(response, request.authorization === undefined ? 401 : 404, 'RepoNotFound')
    const { commit, files, isGated = false } = repository
    const isApi = path.startsWith('/api/')
    if (!isKnown && !(isApi && isGated))
      return refuse(
        response,
        request.authorization === undefined ? 401 : 403,
        isGated ? 'GatedRepo' : 'RepoNotFound',
      )
    const [, revision, file] = /^\/(?:revision|resolve)\/((?:refs\/pr\/)?[^/]+)(?:\/(.*))?$/.exec(rest) ?? []
    if (![commit, 'main', 'refs/pr/1'].includes(revision)) return refuse(response, 404, 'RevisionNotFound')
    if (isApi) {
      const siblings = Object.keys(files).map((rfilename) => ({ rfilename }))
      return response.end(JSON.stringify({ id: name, sha: commit, siblings }))
    }
    const content = files[file]
    if (content === undefined) return refuse(response, 404, 'EntryNotFound')
    if (!file.endsWith('.safetensors')) return send(response, request, fault, content)
    const location = `${state.cdn}/repos/${name}/${file}?X-Signature=${request.authorization === undefined ? 'anyone' : 'known'}`
    return response
      .writeHead(302, {
        location,
        ...(state.linkedEtag && { 'x-linked-etag': etagOf(content) }),
      })
      .end()
  })

  const cdn = await listening((incoming, response) => {
    const [request, fault] = note('cdn', incoming)
    if (fault !== undefined && 'status' in fault) return response.writeHead(fault.status, fault.headers).end()
    const path = decodeURIComponent(request.path.replace(/\?.*$/, ''))
    const [, name, file] = /^\/repos\/([^/]+\/[^/]+)\/(.*)$/.exec(path) ?? []
    const content = name === undefined ? state.loose[path.slice(1)] : state.repositories[name].files[file]
    if (content === undefined) return response.writeHead(404).end()
    return send(response, request, fault, content)
  })

  state.endpoint = urlOf(hub)
  state.cdn = urlOf(cdn)
  afterAll(() => {
    for (const server of [hub, cdn]) {
      server.close()
      server.closeAllConnections()
    }
  })
  return state
}

async function listening(
  answer: (request: IncomingMessage, response: ServerResponse) => unknown,
): Promise<Server> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

/** Someone who waits for nothing, and notes how long was asked for. */
export function hasty(stall = 5_000): Patience & { readonly waits: number[] } {
  const waits: number[] = []
  return {
    waits,
    wait: async (milliseconds, signal) => {
      signal?.throwIfAborted()
      waits.push(milliseconds)
    },
    random: () => 1,
    now: () => Date.UTC(2026, 0, 1),
    stall,
  }
}

/** Does work as one run, with these variables and this patience. */
export const asRun = <T>(
  env: Record<string, string>,
  work: () => Promise<T>,
  {
    patience = hasty(),
    signal = new AbortController().signal,
    notice = (_: string) => {},
    received = (_: number) => {},
    keeps = false,
  } = {},
): Promise<T> => withPatience(patience, () => inNetwork({ env, signal, notice, received, keeps }, work))
