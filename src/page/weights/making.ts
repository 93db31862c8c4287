import { button, html } from '../../browser/dom.ts'
import { intervalText, numberText } from '../../commands/inspect/html/format.ts'
import { bytes, grouped, short } from '../../text/numbers.ts'
import { counted, printable } from '../../text/quote.ts'
import { folded } from './folded.ts'
import type { Factored, Made, Task } from './messages.ts'
import type { Program } from './program.ts'
import { progressBar } from './progress.ts'
import { run } from './run.ts'
import { sentenceOf } from './session.ts'

/** A button that makes files, and where they are then. */
export interface Making {
  readonly element: HTMLElement
  /** What the button says and does from now on; what was made before goes. */
  offer(label: string, task: Extract<Task, { kind: 'factor' | 'adapter' }>): void
  /** That nothing is made, and why. */
  refuse(reason: string): void
  hide(): void
}

export function making(program: Program): Making {
  let task: Extract<Task, { kind: 'factor' | 'adapter' }> | undefined
  let stop = () => {}
  const start = button('', () => void make(), { class: 'make' })
  const outcome = html('div', { class: 'made', 'aria-live': 'polite' })
  const progress = progressBar(() => {
    stop()
    progress.hide()
    start.disabled = false
    outcome.replaceChildren(html('p', { class: 'lead' }, 'Stopped: nothing was made.'))
  })
  const element = html('div', { class: 'making' }, html('p', {}, start), progress.element, outcome)

  async function make(): Promise<void> {
    if (task === undefined) return
    forget()
    start.disabled = true
    progress.show(undefined)
    const running = run(task, program, (told) => {
      if (told.type === 'progress') progress.show(told.event)
    })
    stop = running.stop
    try {
      outcome.replaceChildren(...madeText(await running.result))
    } catch (error) {
      outcome.replaceChildren(
        html('p', { class: 'trouble', role: 'alert' }, printable(sentenceOf(error as Error))),
      )
    }
    progress.hide()
    start.disabled = false
  }

  /** What was made before, whose bytes the browser keeps as long as a link leads to them. */
  function forget(): void {
    stop()
    progress.hide()
    start.disabled = false
    for (const link of outcome.querySelectorAll('a')) URL.revokeObjectURL(link.href)
    outcome.replaceChildren()
  }

  return {
    element,
    offer(label, next) {
      element.hidden = false
      start.hidden = false
      if (JSON.stringify(essence(task)) === JSON.stringify(essence(next))) return
      forget()
      task = next
      start.textContent = label
    },
    refuse(reason) {
      forget()
      task = undefined
      element.hidden = false
      start.hidden = true
      outcome.replaceChildren(html('p', { class: 'lead' }, reason))
    },
    hide() {
      forget()
      task = undefined
      element.hidden = true
    },
  }
}

/** What tells a task from another of the same session. */
const essence = (task: Task | undefined) =>
  task && { ...task, inputs: [task.inputs.weights.path, task.inputs.base?.path] }

function madeText({
  files,
  rank,
  relativeError,
  optimalError,
  layers,
  left,
  notes,
  seconds,
  engine,
}: Factored): HTMLElement[] {
  const best = optimalError === undefined ? '' : `, where the best possible is ${intervalText(optimalError)}`
  const where = engine === 'js' ? ' by plain loops' : ''
  return [
    html(
      'p',
      {},
      `Rank ${grouped(rank)}${layers > 1 ? ` for ${counted(layers, 'layer')}` : ''}: relative error `,
      html('strong', {}, numberText(relativeError)),
      `, measured on what was written${best}. It took ${short(seconds, 2)} s${where}.`,
    ),
    links(files),
    ...notes.map((note) => html('p', { class: 'lead' }, printable(note))),
    ...folded(`Not in it: ${counted(left.length, 'tensor')} that changed, or may have`, left),
  ]
}

/** Files to be downloaded. */
export const links = (files: readonly Made[]): HTMLElement =>
  html(
    'ul',
    { class: 'downloads' },
    ...files.map(({ name, blob }) =>
      html(
        'li',
        {},
        html('a', { href: URL.createObjectURL(blob), download: name }, name),
        html('span', {}, bytes(blob.size)),
      ),
    ),
  )
