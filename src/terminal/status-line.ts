/** Back to the start of the line, and clear it. */
export const CLEAR_LINE = '\r\u001b[K'

/** A line that stands below all that is written to a terminal, until it is taken away. */
export interface StatusLine {
  /** What to write to show this line, in place of the one that stands there; '' takes it away. */
  show(line: string): string
  /** What to write for `text` to stand above the line. Text that doesn't end its own line hides it until it is shown again. */
  above(text: string): string
}

export function statusLine(): StatusLine {
  let shown = ''
  return {
    show(line) {
      if (line === shown) return ''
      const written = (shown === '' ? '' : CLEAR_LINE) + line
      shown = line
      return written
    },
    above(text) {
      if (shown === '') return text
      const line = text.endsWith('\n') ? shown : ''
      shown = line
      return CLEAR_LINE + text + line
    },
  }
}
