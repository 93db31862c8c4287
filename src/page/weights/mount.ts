import { button, html } from '../../browser/dom.ts'
import { countedSubjects } from '../../commands/inspect/verdict.ts'
import { grouped } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'
import { workerNotice } from '../ask.ts'
import { hasEmbeddedEngine } from '../host/engine/wasm-engine.ts'
import { programAddress } from '../program.ts'
import { type Arranged, arranged, lacksConfig, swapped } from './arrange.ts'
import { detail } from './detail.ts'
import { dropPlace } from './drops.ts'
import type { Inputs } from './inputs.ts'
import { matrixList } from './matrix-list.ts'
import { outcome } from './outcome.ts'
import { inThePage, inWorkers, type Program } from './program.ts'
import { progressBar } from './progress.ts'
import { type Change, type Session, sentenceOf, startSession } from './session.ts'

/** Fills the section "Your own weights". */
export function mountWeights(root: HTMLElement): void {
  const { program, notice } = programHere()
  let session: Session | undefined
  let current: Arranged | undefined

  const weights = dropPlace(
    {
      id: 'weights-drop',
      title: 'Weights',
      note: 'A matrix (.npy, .npz, .csv), a checkpoint or an adapter (.safetensors, .gguf, or its folder), or two of them: a base and what it was tuned to.',
    },
    arrange,
  )
  const base = dropPlace(
    {
      id: 'base-drop',
      title: 'Base',
      note: 'The weights before, where it is the change that you want to see. It may stay empty.',
    },
    arrange,
  )
  const order = html('p', { class: 'order', 'aria-live': 'polite' })
  const swap = button('Swap', () => current?.inputs && begin(swapped(current.inputs), false), {
    'aria-label': 'Swap weights and base',
  })
  const orderLine = html('div', { class: 'order-line', hidden: true }, order, swap)
  const trouble = html('p', { class: 'trouble', role: 'alert', hidden: true })
  const notices = html('ul', { class: 'notice', 'aria-label': 'Warnings', hidden: true })
  const progress = progressBar(() => session?.stop())
  const stopped = html('p', { class: 'lead', hidden: true, 'aria-live': 'polite' })
  const all = outcome(program)
  const list = matrixList()
  const one = detail(program)
  root.append(
    html(
      'p',
      { class: 'lead' },
      'Drop files here, and see how low their rank is. This page reads them itself, part by part; nothing leaves this machine, and its policy forbids every connection.',
    ),
    ...(notice === undefined ? [] : [html('p', { class: 'notice' }, notice)]),
    html('div', { class: 'drops' }, weights.element, base.element),
    orderLine,
    trouble,
    progress.element,
    stopped,
    notices,
    all.element,
    list.element,
    one.element,
  )
  acceptDrops(base.element, weights.take, base.take, say)

  function arrange(): void {
    try {
      const next = arranged(weights.entries(), base.entries())
      if (next.inputs === undefined) end()
      else begin(next.inputs, next.isGuessed)
    } catch (error) {
      end()
      say(error)
    }
  }

  /** Ends what goes on, and shows nothing. */
  function end(): void {
    session?.stop()
    session = undefined
    current = undefined
    for (const part of [orderLine, trouble, notices, stopped, all.element, list.element, one.element])
      part.hidden = true
    progress.hide()
  }

  function begin(inputs: Inputs, isGuessed: boolean): void {
    end()
    current = { inputs, isGuessed }
    orderLine.hidden = inputs.base === undefined
    order.replaceChildren(...orderText(inputs, isGuessed, false))
    progress.show(undefined)
    session = startSession(inputs, program, follow)
  }

  function say(error: unknown): void {
    trouble.hidden = false
    trouble.textContent = printable(sentenceOf(error instanceof Error ? error : new Error(String(error))))
  }

  const later = throttled(() => {
    if (session === undefined) return
    if (session.progress !== undefined && isBusy(session)) progress.show(session.progress)
    one.refresh()
  })

  function follow(change: Change, row?: number): void {
    if (session === undefined) return
    switch (change) {
      case 'rows':
        list.begin(session)
        if (session.subject === 'adapter') order.replaceChildren(...orderText(session.inputs, false, true))
        break
      case 'found':
        list.fill(row!)
        if (row === session.selected) one.begin(session)
        later()
        break
      case 'progress':
        later()
        break
      case 'selected':
        list.mark()
        one.begin(session)
        break
      case 'rank':
        one.followRank()
        all.followRank(session)
        break
      case 'state':
        showState(session)
    }
  }

  function showState(shown: Session): void {
    if (!isBusy(shown)) progress.hide()
    if (shown.error !== undefined) say(shown.error)
    const hint = lacksConfig(shown.inputs.weights)
      ? ['adapter_config.json is not among the files: choose it too, or the whole folder']
      : []
    // what the result says itself isn't said twice
    const lines = [...hint, ...shown.notices.filter((line) => !shown.summary?.notices.includes(line))]
    notices.hidden = lines.length === 0
    notices.replaceChildren(...lines.map((line) => html('li', {}, printable(line))))
    const done = shown.found.filter((found) => found !== undefined).length
    stopped.hidden = shown.state !== 'stopped' && (shown.state !== 'failed' || shown.rows.length === 0)
    stopped.textContent = `Ended early: ${grouped(done)} of ${countedRows(shown)} were looked at. Choose one in the list to compute it, or the files again to compute all.`
    all.show(shown)
    one.begin(shown)
  }
}

const countedRows = ({ rows, subject = 'weights' }: Session) => countedSubjects(rows.length, subject)
const isBusy = ({ state }: Session) => state === 'opening' || state === 'computing'

/** How the page computes here, and what a reader should know of it. The lesson has tried before whether workers can be had. */
function programHere(): { readonly program: Program; readonly notice: string | undefined } {
  const still = workerNotice()
  const slow = hasEmbeddedEngine()
    ? undefined
    : 'This browser has no WebAssembly with SIMD: plain loops compute, which is slow.'
  const notice = [slow, still].filter((line) => line !== undefined).join(' ')
  return {
    program: still === undefined ? inWorkers(programAddress()) : inThePage,
    notice: notice || undefined,
  }
}

function orderText({ weights, base }: Inputs, isGuessed: boolean, isAdapter: boolean): (Node | string)[] {
  if (base === undefined) return []
  const name = ({ path }: Inputs['weights']) => html('bdi', {}, printable(path))
  return [
    ...(isAdapter
      ? ['The adapter ', name(weights), ' beside its base ', name(base)]
      : ['What changed from ', name(base), ' to ', name(weights)]),
    isGuessed && !isAdapter ? ' (by their names and dates: swap them if it is the other way round).' : '.',
  ]
}

/** A drop anywhere on the page is taken, and never opened in its place; one on the base's own place as the base. */
function acceptDrops(
  place: HTMLElement,
  takeWeights: (transfer: DataTransfer) => Promise<void>,
  takeBase: (transfer: DataTransfer) => Promise<void>,
  say: (error: unknown) => void,
): void {
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') === true
  document.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault()
  })
  document.addEventListener('drop', (event) => {
    if (!hasFiles(event) || event.dataTransfer === null) return
    event.preventDefault()
    const take = place.contains(event.target as Node) ? takeBase : takeWeights
    take(event.dataTransfer).catch(say)
  })
}

/** Pictures of a list that fills are drawn at most so often: with thousands of curves each takes a while. */
const REDRAWN_MS = 250

/** At most once in that time. */
function throttled(work: () => void): () => void {
  let isAsked = false
  return () => {
    if (isAsked) return
    isAsked = true
    setTimeout(() => {
      isAsked = false
      work()
    }, REDRAWN_MS)
  }
}
