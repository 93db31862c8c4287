import { html } from './dom.ts'

/** The small box that says what the pointer is at. */
export interface Tip {
  readonly element: HTMLElement
  /** Beside a point of the box that holds it, on the side where there is room. */
  show(
    at: { readonly x: number; readonly y: number },
    title: readonly (Node | string | undefined | false)[],
    text: string,
  ): void
  hide(): void
}

export function tipIn(width: () => number, most: () => number): Tip {
  const element = html('div', { class: 'tip', hidden: true })
  return {
    element,
    show({ x, y }, title, text) {
      element.replaceChildren(html('strong', {}, ...title), html('span', {}, text))
      element.hidden = false
      const isRight = x > width() / 2
      element.style.left = isRight ? 'auto' : `${x + 12}px`
      element.style.right = isRight ? `${width() - x + 12}px` : 'auto'
      element.style.top = `${Math.min(y, most())}px`
    },
    hide() {
      element.hidden = true
    },
  }
}
