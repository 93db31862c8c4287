import { openTensors } from '../../src/formats/open.ts'
import { entriesElsewhere, kindElsewhere, pinned } from '../../src/io/remote/hub.ts'
import { inNetwork, type Patience, withPatience } from '../../src/io/remote/network.ts'
import { openFile } from '../../src/io/source.ts'
import { readAll } from './read-all.ts'

/**
 * What a server may answer, as one input: the address that is asked for in the first line, then answers, each begun by a byte 0x1e: a line
 * with the status, lines of headers, an empty line, the body. They come in their order, and the last again for whatever else is asked.
 */
export const BETWEEN_ANSWERS = 0x1e

/** A body that breaks off says so in this header, by the bytes that come before. */
const BREAKS_AFTER = 'x-breaks-after'

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Uint8Array
}

/** What fetch itself would refuse never comes to us. */
function answerOf(bytes: Buffer): Answer {
  const end = bytes.indexOf('\n\n')
  const [status, ...lines] = bytes.toString('latin1', 0, end < 0 ? bytes.length : end).split('\n')
  const headers = new Headers()
  for (const line of lines) {
    const colon = line.indexOf(':')
    try {
      headers.append(line.slice(0, colon), line.slice(colon + 1))
    } catch {}
  }
  const said = Math.floor(Number(status))
  return {
    status: said >= 200 && said <= 599 ? said : 200,
    headers,
    body: end < 0 ? new Uint8Array(0) : new Uint8Array(bytes.subarray(end + 2)),
  }
}

function responseOf({ status, headers, body }: Answer): Response {
  if ([204, 205, 304].includes(status)) return new Response(null, { status, headers })
  const breaks = headers.get(BREAKS_AFTER)
  if (breaks === null) return new Response(body as Uint8Array<ArrayBuffer>, { status, headers })
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(body.subarray(0, Number(breaks) || 0))
      controller.error(new TypeError('terminated', { cause: new Error('other side closed') }))
    },
  })
  return new Response(stream, { status, headers })
}

/** Waits that take no time. */
const AT_ONCE: Patience = {
  wait: async (_, signal) => signal?.throwIfAborted(),
  random: () => 0.5,
  now: () => Date.UTC(2026, 0, 1),
  stall: 30_000,
}

const ENV = { HF_ENDPOINT: 'https://hub.test', HF_HOME: '/nowhere', HF_TOKEN: 'hf_fuzz' }

/** The most requests of one input: seven tries of each of some, and redirects. */
const MOST_REQUESTS = 400

/** Reads what lies at the address, from a server that answers so. */
export async function readFromServer(input: Uint8Array): Promise<void> {
  const [first, ...parts] = partsOf(Buffer.from(input))
  // the address is the user's own, and stands in messages as it was given
  const address = first.toString('utf8').replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '')
  const answers = parts.map(answerOf)
  let asked = 0
  const before = globalThis.fetch
  globalThis.fetch = async (url) => {
    if (asked >= MOST_REQUESTS) throw new RangeError(`asked ${asked} times, now for ${String(url)}`)
    const answer = answers[Math.min(asked++, answers.length - 1)]
    if (answer === undefined)
      throw new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') })
    return responseOf(answer)
  }
  try {
    await withPatience(AT_ONCE, () =>
      inNetwork(
        { env: ENV, signal: new AbortController().signal, notice: () => {}, received: () => {} },
        () => readAt(address),
      ),
    )
  } finally {
    globalThis.fetch = before
  }
}

async function readAt(given: string): Promise<void> {
  const address = await pinned(given)
  if (kindElsewhere(address) === 'folder') entriesElsewhere(address)
  const source = await openFile(address)
  try {
    await readAll(await openTensors(source))
    await source.read(0, source.byteLength)
  } finally {
    await source.close()
  }
}

function partsOf(input: Buffer): Buffer[] {
  const parts: Buffer[] = []
  let start = 0
  for (let at = input.indexOf(BETWEEN_ANSWERS); at >= 0; at = input.indexOf(BETWEEN_ANSWERS, start)) {
    parts.push(input.subarray(start, at))
    start = at + 1
  }
  return [...parts, input.subarray(start)]
}
