import { type Item, modelOf } from '../../commands/inspect/html/client/model.ts'
import { LoraSvdError } from '../../errors.ts'
import type { ProgressEvent } from '../../jobs/context.ts'
import type { Inputs } from './inputs.ts'
import type { Found, Row, Summary, Told } from './messages.ts'
import type { Program } from './program.ts'
import { type Running, run } from './run.ts'

/** One inspection as it goes on, and what a reader has set. */
export interface Session {
  readonly inputs: Inputs
  readonly state: 'opening' | 'computing' | 'done' | 'stopped' | 'failed'
  readonly subject: 'weights' | 'delta' | 'adapter' | undefined
  readonly rows: readonly Row[]
  readonly found: readonly (Found | undefined)[]
  /** Those of which the spectrum is there, in the order of the rows. */
  readonly items: readonly Item[]
  readonly summary: Summary | undefined
  readonly progress: ProgressEvent | undefined
  readonly notices: readonly string[]
  readonly error: Error | undefined
  /** The row that is looked at. */
  readonly selected: number | undefined
  readonly rank: number
  itemOf(row: number): Item | undefined
  select(row: number): void
  setRank(rank: number): void
  /** Computes one matrix ahead of the others. */
  hasten(row: number): void
  stop(): void
}

/** What has changed, for whoever shows it. */
export type Change = 'state' | 'rows' | 'found' | 'progress' | 'selected' | 'rank'

/** Where no rank says itself. */
const FIRST_RANK = 16

/** Starts to inspect what was chosen; `changed` is called after each change. */
export function startSession(
  inputs: Inputs,
  program: Program,
  changed: (change: Change, row?: number) => void,
): Session {
  const items: (Item | undefined)[] = []
  const hastened = new Map<number, Running<'inspect'>>()
  const session = {
    inputs,
    state: 'opening' as Session['state'],
    subject: undefined as Session['subject'],
    rows: [] as readonly Row[],
    found: [] as (Found | undefined)[],
    items: [] as readonly Item[],
    summary: undefined as Summary | undefined,
    progress: undefined as ProgressEvent | undefined,
    notices: [] as string[],
    error: undefined as Error | undefined,
    selected: undefined as number | undefined,
    rank: FIRST_RANK,
    itemOf: (row: number) => items[row],
    select(row: number) {
      if (row === session.selected) return
      session.selected = row
      changed('selected')
    },
    setRank(rank: number) {
      if (rank === session.rank) return
      session.rank = rank
      changed('rank')
    },
    hasten,
    stop() {
      stopAll()
      if (session.state === 'opening' || session.state === 'computing') session.state = 'stopped'
      changed('state')
    },
  }

  function take(row: number, found: Found): void {
    // it may have been hastened
    if (session.found[row] !== undefined) return
    session.found[row] = found
    if (found.kind === 'spectrum') {
      const { grid, matrix } = found
      const [item] = modelOf({ subject: session.subject ?? 'weights', grid, matrices: [matrix] }).items
      const isLast = row >= items.length
      items[row] = item
      session.items = isLast
        ? [...session.items, Object.assign(item, { index: session.items.length })]
        : items.flatMap((one) => one ?? []).map((one, index) => Object.assign(one, { index }))
    }
    changed('found', row)
    if (session.selected === undefined && found.kind === 'spectrum') session.select(row)
  }

  function hear(told: Told): void {
    switch (told.type) {
      case 'opened':
        session.state = 'computing'
        session.subject = told.subject
        session.rows = told.rows
        session.found = told.rows.map(() => undefined)
        changed('rows')
        changed('state')
        return
      case 'found':
        take(told.index, told.found)
        return
      case 'progress':
        session.progress = told.event
        changed('progress')
        return
      case 'notice':
        session.notices.push(told.line)
        changed('state')
    }
  }

  function hasten(row: number): void {
    if (session.found[row] !== undefined || hastened.has(row)) return
    const only = session.rows[row].name
    const one = run({ kind: 'inspect', inputs, only }, program, (told) => {
      if (told.type === 'found') take(row, told.found)
    })
    hastened.set(row, one)
    one.result.catch(fail)
  }

  function stopAll(): void {
    main.stop()
    for (const one of hastened.values()) one.stop()
  }

  function fail(error: unknown): void {
    stopAll()
    session.error = asError(error)
    session.state = 'failed'
    changed('state')
  }

  const main = run({ kind: 'inspect', inputs }, program, hear)
  main.result.then((summary) => {
    session.summary = summary
    session.state = 'done'
    if (summary.advice?.rank !== undefined) session.setRank(summary.advice.rank)
    changed('state')
  }, fail)
  return session
}

const asError = (error: unknown) => (error instanceof Error ? error : new Error(String(error)))

/** What to tell of an error: the sentence of the command line; what isn't one is a defect of the page. */
export const sentenceOf = (error: Error): string =>
  error instanceof LoraSvdError ? error.message : `${error.message} (this is a defect of the page)`
