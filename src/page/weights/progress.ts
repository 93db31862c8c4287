import { button, html } from '../../browser/dom.ts'
import type { ProgressEvent } from '../../jobs/context.ts'
import { grouped } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'

/** How far a piece of work is, and a button that ends it. */
export interface ProgressBar {
  readonly element: HTMLElement
  /** `undefined`: it has only begun. */
  show(event: ProgressEvent | undefined): void
  hide(): void
}

const DOING: Record<ProgressEvent['phase'], string> = {
  reading: 'Reading',
  inspecting: 'Looking at',
  extracting: 'Decomposing',
  extending: 'Looking closer at',
  summing: 'Summing',
  measuring: 'Measuring',
  factoring: 'Factoring',
  decomposing: 'Decomposing',
  sampling: 'Sampling',
  applying: 'Applying',
  comparing: 'Comparing',
  checking: 'Checking',
}

export function progressBar(stop: () => void): ProgressBar {
  const bar = html('progress', { max: 1, 'aria-label': 'Progress' })
  const text = html('span')
  const element = html('div', { class: 'progress', hidden: true }, bar, text, button('Stop', stop))
  return {
    element,
    show(event) {
      element.hidden = false
      if (event === undefined || event.total === 0) {
        bar.removeAttribute('value')
        text.textContent = 'Reading what is there'
        return
      }
      const { phase, noun, done, items, work, total, name } = event
      bar.value = work / total
      const which = name === undefined || event.kind !== 'begin' ? '' : `: ${printable(name)}`
      text.textContent = `${DOING[phase]} ${grouped(items)} ${noun}, ${grouped(done)} done${which}`
    },
    hide() {
      element.hidden = true
    },
  }
}
