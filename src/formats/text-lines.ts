/** A line that holds cells, and its number in the file. */
export interface Line {
  readonly number: number
  readonly text: string
}

/** The lines that hold cells: not blank, not a comment. They end as Unix, Windows or old Macintosh programs end them. */
export function* rowLines(text: string): Generator<Line, undefined> {
  const mark = !text.includes('\n') && text.includes('\r') ? '\r' : '\n'
  let number = 0
  for (let start = 0; start < text.length; ) {
    const next = text.indexOf(mark, start)
    const end = next === -1 ? text.length : next
    const line = text.slice(start, text[end - 1] === '\r' && end > start ? end - 1 : end)
    number++
    start = end + 1
    if (/^\s*(?:#|$)/.test(line)) continue
    yield { number, text: line }
  }
}

/** `A = [`, `array([`: how programs print a matrix in brackets. */
const OPENING = /^\s*(?:[A-Za-z_]\w*\s*=\s*)?(?:[A-Za-z_][\w.]*\(\s*)?\[/

/** Whether a text is a matrix in brackets, as MATLAB writes it, or Python and JSON: lists in a list. */
export const isBracketed = (text: string) => OPENING.test(text)

/**
 * The rows of a matrix in brackets, one a line: each in brackets of its own, or up to a semicolon or the line's end. Throws
 * SyntaxError, with the line, where the brackets hold or are followed by something else.
 */
export function* bracketedLines(text: string): Generator<Line, undefined> {
  const open = OPENING.exec(text)![0].length
  const isNested = /^\s*\[/.test(text.slice(open))
  const row = isNested ? /([\s,]*)\[([^\][]*)\]/y : /([ \t]*)([^\][;\n]*)(?:[;\n]|(?=\]))/y
  let [counted, line] = [0, 1]
  /** The number of the line that a place is in; places only go on, so that each line end is counted once. */
  const lineAt = (place: number) => {
    for (
      let end = text.indexOf('\n', counted);
      end !== -1 && end < place;
      end = text.indexOf('\n', counted)
    ) {
      counted = end + 1
      line++
    }
    return line
  }
  const problem = (at: number, what: string) => new SyntaxError(`line ${lineAt(at)} ${what}`)
  if (/^[\s[]*["{]/.test(text.slice(open))) throw problem(open, 'is JSON, but no rows of numbers')
  let at = open
  for (;;) {
    row.lastIndex = at
    const found = row.exec(text)
    if (found === null || (found[0] === '' && text[at] === ']')) break
    const cells = found[2].replace(/\s+/g, ' ').replace(/ ?, ?/g, ',').trim()
    if (cells !== '') yield { number: lineAt(at + found[1].length), text: cells }
    at = row.lastIndex
  }
  const rest = text.slice(at)
  if (CLOSING.test(rest.replace(/\s+/g, ''))) return
  if (!rest.includes(']'))
    throw problem(text.trimEnd().length, 'ends without the bracket that closes the matrix')
  throw problem(
    at,
    isNested ? 'has more than rows of numbers in its brackets' : 'has more after its brackets',
  )
}

/** The end of a matrix in brackets, without its blanks; NumPy may add the type. */
const CLOSING = /^,*\](?:,dtype=[\w.']+)?\)?;?$/
