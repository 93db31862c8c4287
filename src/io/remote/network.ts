import { AsyncLocalStorage } from 'node:async_hooks'
import { homedir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { hubCacheFolder, hubEndpoint, hubToken, isOffline, mayLink, type Surroundings } from './settings.ts'

/** What is known of a file elsewhere: while it is read it must stay so. */
export interface RemoteStamp {
  readonly bytes: number
  /** Its ETag, or when it was changed last; '' where the server tells neither. */
  readonly version: string
}

/** Bytes of a file elsewhere, from `begin` on, that were read already. */
export interface KeptPart {
  readonly begin: number
  readonly bytes: Uint8Array
}

/** How long is waited, and who waits: tests bring a clock of their own. */
export interface Patience {
  /** Waits so many milliseconds; an abort ends it. */
  wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void>
  /** From 0 to 1: what spreads the waits of many who were refused together. */
  random(): number
  /** Milliseconds since 1970. */
  now(): number
  /** Milliseconds without a byte after which a connection counts as dropped. */
  readonly stall: number
}

/** A person gives up on a page after half a minute; a server that is only slow sends something by then. */
const STALL = 30_000

const REAL: Patience = {
  wait: async (milliseconds, signal) => {
    await sleep(milliseconds, undefined, { signal }).catch(() => signal?.throwIfAborted())
  },
  random: Math.random,
  now: Date.now,
  stall: STALL,
}

/** Connections of all threads together: enough to fill a fast line, few enough for a server to be asked by many such programs. */
const CONNECTIONS = 16

/** What one run knows of what lies elsewhere. Nothing of it is kept when the run ends. */
export interface Network {
  readonly endpoint: string
  readonly isOffline: boolean
  /** Who asks the Hub, and nobody else. */
  token(): string | undefined
  readonly signal: AbortSignal | undefined
  /** Tells the user that something is waited for. */
  notice(line: string): void
  /** Is told of bytes of files as they come. */
  received(bytes: number): void
  readonly patience: Patience
  readonly stamps: Map<string, RemoteStamp>
  /** What each address that was given is read as. */
  readonly readAs: Map<string, string>
  /** The commit of each repository and revision, by `org/name@revision`. */
  readonly pins: Map<string, string>
  /** The files of a repository at a commit, by its address. */
  readonly listings: Map<string, readonly string[]>
  /** By the address of their file. */
  readonly kept: Map<string, readonly KeptPart[]>
  /** The folder in which this run keeps whole what it reads of the Hub, if it does. */
  readonly keepsIn: string | undefined
  /** Whether links may be made there. */
  readonly mayLink: boolean
  /** Files of the Hub that are read from the cache, by their addresses. */
  readonly cached: Map<string, string>
  /** What is on its way there. */
  readonly bringing: Map<string, Promise<string | undefined>>
  /** Hosts that nobody answered at, of which the user was told. */
  readonly waitedFor: Set<string>
  /** Where servers sent us for a file: asked first the next time. */
  readonly locations: Map<string, string>
  /** Does a piece of work with one of the connections. */
  connected<T>(work: () => Promise<T>): Promise<T>
}

/** The same for a worker thread, as plain data. */
export interface WorkerNetwork {
  readonly endpoint: string
  readonly token: string | undefined
  readonly stamps: ReadonlyMap<string, RemoteStamp>
  /** In memory that is shared. */
  readonly kept: ReadonlyMap<string, readonly KeptPart[]>
  readonly cached: ReadonlyMap<string, string>
  readonly connections: number
}

const current = new AsyncLocalStorage<Network>()
const patience = new AsyncLocalStorage<Patience>()
let ofWorker: Network | undefined

/** Each job is a bundle of its own, with a copy of this module: here all of a worker's find what it was told. */
const TOLD = Symbol.for('lora-svd/worker-network')
const thread = globalThis as {
  [TOLD]?: { readonly given: WorkerNetwork; readonly told: Told }
}

/** Who is told of what happens. */
export type Told = Pick<Network, 'notice' | 'received'>

const NOBODY: Told = { notice: () => {}, received: () => {} }

/** What is known of what lies elsewhere in this run, or in this worker's; outside of both, nothing yet. */
export function network(): Network {
  const adopted = thread[TOLD]
  if (adopted !== undefined) ofWorker ??= networkOfWorker(adopted.given, adopted.told)
  return (
    current.getStore() ?? ofWorker ?? networkIn(surroundingsOf(process.env), { ...NOBODY, signal: undefined })
  )
}

/** The home folder is asked for by few runs, and `node:os` takes its time to start. */
const surroundingsOf = (env: Surroundings['env']): Surroundings => ({
  env,
  get home() {
    return homedir()
  },
})

/** Does work in the run that goes on, or as one of its own. */
export const inAnyNetwork = <T>(work: () => Promise<T>): Promise<T> => current.run(network(), work)

/** How a run asks. */
export interface NetworkOptions extends Told {
  readonly env?: Surroundings['env'] | undefined
  readonly signal: AbortSignal | undefined
  /** Keep whole what is read of the Hub, in the cache of Hugging Face's tools. */
  readonly keeps?: boolean | undefined
}

/** Does the work of a run, which forgets at its end whatever it came to know. */
export const inNetwork = <T>(options: NetworkOptions, work: () => Promise<T>): Promise<T> =>
  current.run(networkIn(surroundingsOf(options.env ?? process.env), options), work)

/** Does work whose runs wait so. */
export const withPatience = <T>(how: Patience, work: () => Promise<T>): Promise<T> => patience.run(how, work)

function networkIn(
  surroundings: Surroundings,
  { signal, notice, received, keeps = false }: NetworkOptions,
): Network {
  let endpoint: string | undefined
  let token: { readonly value: string | undefined } | undefined
  return {
    ...empty(signal, { notice, received }, CONNECTIONS),
    ...(keeps && { keepsIn: hubCacheFolder(surroundings) }),
    mayLink: mayLink(surroundings.env),
    get endpoint() {
      endpoint ??= hubEndpoint(surroundings.env)
      return endpoint
    },
    isOffline: isOffline(surroundings.env),
    token: () => {
      token ??= { value: hubToken(surroundings) }
      return token.value
    },
  }
}

const empty = (signal: AbortSignal | undefined, told: Told, connections: number) => ({
  signal,
  ...told,
  patience: patience.getStore() ?? REAL,
  stamps: new Map<string, RemoteStamp>(),
  readAs: new Map<string, string>(),
  pins: new Map<string, string>(),
  listings: new Map<string, readonly string[]>(),
  kept: new Map<string, readonly KeptPart[]>(),
  locations: new Map<string, string>(),
  waitedFor: new Set<string>(),
  keepsIn: undefined,
  mayLink: false,
  cached: new Map<string, string>(),
  bringing: new Map<string, Promise<string | undefined>>(),
  connected: limited(connections),
})

/** What each of so many workers has to know; undefined where all lies on this machine. */
export function workerNetwork(workers: number): WorkerNetwork | undefined {
  const known = network()
  const { stamps, kept, cached } = known
  if (stamps.size + cached.size === 0) return undefined
  const connections = Math.max(1, Math.floor(CONNECTIONS / workers))
  const isOfHub = [...stamps.keys()].some((address) => address.startsWith('hf://'))
  const hub = isOfHub
    ? { endpoint: known.endpoint, token: known.token() }
    : { endpoint: '', token: undefined }
  return { ...hub, stamps, kept, cached, connections }
}

/** Makes it what this thread knows. */
export function adoptNetwork(given: WorkerNetwork | undefined, told: Told): void {
  if (given !== undefined) thread[TOLD] = { given, told }
}

const networkOfWorker = (
  { endpoint, token, stamps, kept, cached, connections }: WorkerNetwork,
  told: Told,
): Network => ({
  ...empty(undefined, told, connections),
  endpoint,
  isOffline: false,
  token: () => token,
  stamps: new Map(stamps),
  kept: new Map(kept),
  cached: new Map(cached),
})

/** Works at most so many at once, each when its turn comes. */
function limited(most: number): Network['connected'] {
  let free = most
  const waiting: (() => void)[] = []
  return async (work) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}
