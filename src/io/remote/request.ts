import { badInput, LoraSvdError } from '../../errors.ts'
import { version } from '../../version.ts'
import { isSafe, maySendOn } from './address.ts'
import { network } from './network.ts'
import { type Asked, refusalOf, waitAsked } from './refusals.ts'

/** One GET after the other, by the fetch of Node: redirects are followed here, so that the token stays with whom it is for. */

/** Tries of one request in a row that bring no byte: with the waits between them about a minute. */
const MOST_TRIES = 7
/** The first wait, and the longest, in milliseconds; each is twice as long as the one before. */
const FIRST_WAIT = 500
const LONGEST_WAIT = 20_000
/** The longest that a server may ask to wait, in milliseconds: the Hub counts requests over five minutes. */
const LONGEST_ASKED = 330_000
/** A longer wait, in milliseconds, is told of: to a person nothing seems to happen. */
const QUIET_WAIT = 3_000
/** As many as browsers follow at least (fetch.spec.whatwg.org allows 20); the Hub needs two. */
const MOST_REDIRECTS = 10

/** A failure that another try may not meet. */
class Passing extends Error {
  /** Milliseconds that the server asks to wait. */
  readonly after: number | undefined
  /** Where nobody answered at all. */
  readonly unreached: string | undefined

  constructor(message: string, { after, unreached }: Partial<Pick<Passing, 'after' | 'unreached'>> = {}) {
    super(message)
    this.after = after
    this.unreached = unreached
  }
}

/** What came of a request: the answer's head, and its bytes as they come. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** X-Linked-ETag of an answer that sent on to this one. */
  readonly linkedEtag?: string | undefined
  readonly chunks: AsyncIterable<Uint8Array>
}

/**
 * Does work of requests until it succeeds, after failures that may pass again, with longer and longer waits. `work` says when it
 * has got further. Throws what else it throws, `system` after too many failures in a row, and the reason of an abort.
 */
export async function persistently<T>(
  address: string,
  work: (progressed: () => void) => Promise<T>,
): Promise<T> {
  const { patience, signal, notice, waitedFor } = network()
  let failures = 0
  for (;;) {
    signal?.throwIfAborted()
    try {
      return await work(() => {
        failures = 0
      })
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof Passing)) throw error
      failures++
      const gaveUp = (problem: string) =>
        new LoraSvdError('system', `${address}: ${error.message}${problem}; try again later`, {
          file: address,
          cause: error,
        })
      if (failures === MOST_TRIES) throw gaveUp(`, ${MOST_TRIES} times in a row`)
      if ((error.after ?? 0) > LONGEST_ASKED)
        throw gaveUp(`, and asks to wait ${Math.ceil(error.after! / 1000)} seconds`)
      const wait = waitAfter(failures, error.after, patience.random())
      const { unreached } = error
      if (unreached !== undefined) {
        if (!waitedFor.has(unreached)) {
          notice(
            `${unreached} can't be reached: ${error.message}; it is asked again, ${MOST_TRIES - 1} times at most`,
          )
        }
        waitedFor.add(unreached)
      } else if (wait > QUIET_WAIT) {
        notice(`${address}: ${error.message}; it is asked again in ${Math.round(wait / 1000)} s`)
      }
      await patience.wait(wait, signal)
    }
  }
}

/** Half of a wait is by chance, so that many who were refused together don't come again together. */
function waitAfter(failures: number, asked: number | undefined, random: number): number {
  if (asked !== undefined) return asked + FIRST_WAIT * random
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * (0.5 + random / 2)
}

/**
 * One GET with one of the connections; `use` takes what comes. Throws LoraSvdError where asking again won't help, and what `persistently`
 * takes for a failure that may pass.
 */
export async function get<T>(
  asked: Asked,
  stop: AbortSignal | undefined,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const { patience, signal, connected } = network()
  return connected(async () => {
    const controller = new AbortController()
    const abort = () => controller.abort()
    let timer = setTimeout(abort, patience.stall)
    let hasAnswered = false
    const alive = () => {
      hasAnswered = true
      clearTimeout(timer)
      timer = setTimeout(abort, patience.stall)
    }
    try {
      for (const other of [signal, stop]) {
        other?.throwIfAborted()
        other?.addEventListener('abort', abort, { once: true })
      }
      const { response, linkedEtag } = await followed(asked, controller.signal, alive)
      return await use({
        status: response.status,
        headers: response.headers,
        linkedEtag,
        chunks: chunksOf(response, alive),
      })
    } catch (error) {
      signal?.throwIfAborted()
      stop?.throwIfAborted()
      if (error instanceof LoraSvdError || error instanceof Passing) throw error
      throw controller.signal.aborted
        ? new Passing(`nothing came for ${patience.stall / 1000} seconds`, {
            unreached: hasAnswered ? undefined : asked.url.host,
          })
        : broken(error, asked.address, undefined)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      stop?.removeEventListener('abort', abort)
      // what is left of the answer isn't waited for
      controller.abort()
    }
  })
}

async function* chunksOf({ body }: Response, alive: () => void): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of body ?? []) {
    alive()
    yield chunk
  }
}

/** Follows redirects to an answer that has what was asked for. */
async function followed(
  asked: Asked,
  signal: AbortSignal,
  alive: () => void,
): Promise<{ readonly response: Response; readonly linkedEtag?: string | undefined }> {
  const { locations } = network()
  const known = locations.get(asked.address)
  if (known !== undefined) {
    const url = new URL(known)
    const response = await ask(url, asked, signal, url.origin === asked.url.origin).catch(
      (error: unknown) => {
        locations.delete(asked.address)
        throw error
      },
    )
    alive()
    if (isFine(response)) return { response }
    // such addresses are signed for an hour or so, and their hosts come and go
    locations.delete(asked.address)
    if (isPassing(response)) throw passing(response, url)
    await response.body?.cancel()
  }
  let url = asked.url
  let isFirstHost = true
  let linkedEtag: string | undefined
  for (let hops = 0; hops <= MOST_REDIRECTS; hops++) {
    const response = await ask(url, asked, signal, isFirstHost)
    alive()
    const location = response.headers.get('location')
    if (response.status < 300 || response.status >= 400 || location === null) {
      if (isPassing(response)) throw passing(response, url)
      if (!isFine(response)) throw await refusalOf(response, asked, url)
      if (hops > 0) locations.set(asked.address, url.href)
      return { response, linkedEtag }
    }
    if (isFirstHost) linkedEtag = response.headers.get('x-linked-etag') ?? linkedEtag
    await response.body?.cancel()
    const next = URL.canParse(location, url.href) ? new URL(location, url.href) : undefined
    if (next === undefined || !maySendOn(url, next)) {
      throw badInput(
        `${asked.address}: ${url.host} sends on to an address that isn't https, on which anyone may change the file`,
        { file: asked.address },
      )
    }
    isFirstHost &&= next.origin === asked.url.origin
    url = next
  }
  throw badInput(`${asked.address}: is sent on more than ${MOST_REDIRECTS} times; check the address`, {
    file: asked.address,
  })
}

async function ask(
  url: URL,
  { address, token, range, version: since }: Asked,
  signal: AbortSignal,
  isFirstHost: boolean,
): Promise<Response> {
  const { protocol } = url
  if (!/^https?:$/.test(protocol)) throw new RangeError(`${protocol} is no protocol of the web`)
  return fetch(url, {
    redirect: 'manual',
    signal,
    headers: {
      'user-agent': `lora-svd/${version}`,
      ...(token !== undefined && isFirstHost && isSafe(url) && { authorization: `Bearer ${token}` }),
      // with a range fetch itself asks that nothing be compressed
      ...(range === undefined
        ? { 'accept-encoding': 'identity' }
        : { range: `bytes=${range.start}-${range.end - 1}` }),
      ...(since !== undefined && { 'if-range': since }),
    },
  }).catch((error: unknown) => {
    throw signal.aborted ? error : broken(error, address, url.host)
  })
}

const isFine = (response: Response) => response.status === 200 || response.status === 206 || isEmpty(response)

/** Of a file without bytes no range can be had, and the answer says that it has none. */
export const isEmpty = ({ status, headers }: Pick<Response, 'status' | 'headers'>) =>
  status === 416 && headers.get('content-range')?.endsWith('*/0') === true

const isPassing = ({ status }: Response) => status === 408 || status === 429 || status >= 500

function passing({ status, headers }: Response, { host }: URL): Passing {
  const what = status === 429 ? 'has had too many requests' : 'fails'
  return new Passing(`${host} ${what} (HTTP ${status})`, {
    after: waitAsked(headers, network().patience.now()),
  })
}

/** Bytes that ended before they should. */
export const endedEarly = (): Error => new Passing('the connection ended early')

/** The codes of failures that no further try mends. */
const LASTING =
  /^(?:ENOTFOUND|CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERR_INVALID_URL|HPE_INVALID_CONSTANT)/

/** A connection that failed, by what Node says was the cause; `host` is where nobody answered, undefined of an answer that broke off. */
function broken(error: unknown, address: string, host: string | undefined): Error {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  const { code = '', message: said = String(cause) } = (cause ?? {}) as { code?: string; message?: string }
  const message = said.trim().replace(/\s+/g, ' ')
  // of the ports that fetch never asks (fetch.spec.whatwg.org, port blocking) Node says no more
  if (host !== undefined && message === 'bad port') {
    return badInput(`${address}: ${host} has a port of another protocol, which is never asked; check it`, {
      file: address,
    })
  }
  const what =
    code === 'ENOTFOUND'
      ? `there is no such host${host === undefined ? '' : ` as ${host}`}, or no network`
      : code === 'HPE_INVALID_CONSTANT'
        ? `what answers at ${host} is no web server`
        : code === 'ERR_SSL_WRONG_VERSION_NUMBER'
          ? `what answers at ${host} speaks no https`
          : `the connection failed: ${message || code}${code && !message.includes(code) ? ` (${code})` : ''}`
  if (!LASTING.test(code)) return new Passing(what, { unreached: host })
  return new LoraSvdError('system', `${address}: ${what}; check the address and the connection`, {
    file: address,
    cause: error,
  })
}
