import { badInput, type LoraSvdError } from '../../errors.ts'
import { quoted } from '../../text/quote.ts'

/** What is asked of a server. */
export interface Asked {
  /** What messages call it. */
  readonly address: string
  readonly url: URL
  /** For the host of `url` alone. */
  readonly token?: string | undefined
  /** The bytes [start, end); everything without it. */
  readonly range?: { readonly start: number; readonly end: number } | undefined
  /** The version of which they are wanted. */
  readonly version?: string | undefined
  /** Of a file or repository of the Hub: the page that people see. */
  readonly page?: string | undefined
}

const LOG_IN = 'give one in HF_TOKEN, or log in: hf auth login'

/** What the Hub says in X-Error-Code (huggingface_hub/utils/_http.py, hf_raise_for_status), with what to do. */
function hubProblem(code: string, { page, token }: Asked): string | undefined {
  switch (code) {
    case 'GatedRepo':
      return token === undefined
        ? `is gated: accept its terms at ${page}, then ask with a token: ${LOG_IN}`
        : `is gated, and your token may not read it: ask for access at ${page}, or give another token`
    case 'RevisionNotFound':
      return `has no such branch, tag or commit; see ${page}/tree/main`
    case 'EntryNotFound':
      return `has no such file; see ${page}/tree/main`
    case 'RepoNotFound':
      return token === undefined
        ? `isn't there, or is private: check the name; for a private one a token is needed: ${LOG_IN}`
        : "isn't there, or your token may not see it: check the name and whose token it is"
    default:
      return undefined
  }
}

/** The refusal that an answer is, as one line with what to do. */
export async function refusalOf(response: Response, asked: Asked, { host }: URL): Promise<LoraSvdError> {
  const { status, headers } = response
  await response.body?.cancel()
  const said = headers.get('x-error-message')
  const problem =
    hubProblem(headers.get('x-error-code') ?? '', asked) ??
    `${problemOf(status, host, asked)}${said === null ? '' : ` (${quoted(said)})`}`
  return badInput(`${asked.address}: ${problem}`, { file: asked.address })
}

function problemOf(status: number, host: string, { token, page }: Asked): string {
  switch (status) {
    case 401:
      if (page === undefined)
        return `${host} wants to know who asks (HTTP 401); download the file, and name that`
      return token === undefined
        ? `isn't there, or is not for all (HTTP 401): check the name; where a token is needed, ${LOG_IN}`
        : 'your token is refused (HTTP 401): it is wrong or has expired; log in again: hf auth login'
    case 403:
      return page === undefined
        ? `${host} doesn't give it (HTTP 403); check the address, or download the file`
        : `may not be read by you (HTTP 403); ask for access at ${page}, or give another token in HF_TOKEN`
    case 404:
    case 410:
      return `isn't there (HTTP ${status}); check the address`
    case 416:
      return 'has fewer bytes than it had (HTTP 416): it was changed since it was opened; run the same command again'
    default:
      return `${host} refuses it (HTTP ${status}); check the address`
  }
}

/** Milliseconds that a server asks to wait: Retry-After in seconds or as a date, or t of the Hub's RateLimit. */
export function waitAsked(headers: Headers, now: number): number | undefined {
  const after = headers.get('retry-after')?.trim()
  if (after !== undefined && /^\d+$/.test(after)) return Number(after) * 1000
  const date = after === undefined ? Number.NaN : Date.parse(after)
  if (!Number.isNaN(date)) return Math.max(0, date - now)
  const seconds = /(?:^|;)\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]
  return seconds === undefined ? undefined : Number(seconds) * 1000
}
