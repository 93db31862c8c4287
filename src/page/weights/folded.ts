import { html } from '../../browser/dom.ts'
import { printable } from '../../text/quote.ts'

/** Names with what is to be said of each, folded away under a summary; nothing where there are none. */
export function folded(
  summary: string,
  items: readonly { readonly name: string; readonly reason?: string }[],
): HTMLElement[] {
  if (items.length === 0) return []
  const lines = items.map(({ name, reason }) =>
    html(
      'li',
      {},
      html('code', {}, printable(name)),
      ...(reason === undefined ? [] : [' ', html('span', {}, printable(reason))]),
    ),
  )
  return [html('details', { class: 'list' }, html('summary', {}, summary), html('ul', {}, ...lines))]
}
