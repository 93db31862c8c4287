/** A value of YAML as the reader below has it. */
export type Yaml = string | { readonly [key: string]: Yaml } | readonly Yaml[]

interface Line {
  readonly indent: number
  readonly text: string
}

/**
 * Reads the little YAML that an action is written in: maps and lists by their indentation, scalars on one line, blocks after `|`.
 * Every scalar is a text. Throws on anything else, so that no file is taken for another than it is.
 */
export function parsePlainYaml(source: string): Yaml {
  const lines = source.split('\n')
  let at = 0
  const peek = (): Line | undefined => {
    while (at < lines.length && /^\s*(?:#.*)?$/.test(lines[at])) at++
    const line = lines[at]
    if (line === undefined) return undefined
    const indent = line.length - line.trimStart().length
    return { indent, text: line.trim() }
  }
  const block = (indent: number): string => {
    const first = at
    while (at < lines.length && (lines[at].trim() === '' || lines[at].startsWith(' '.repeat(indent + 1))))
      at++
    const body = lines.slice(first, at)
    const margin = body[0].length - body[0].trimStart().length
    return `${body
      .map((line) => line.slice(margin))
      .join('\n')
      .trimEnd()}\n`
  }
  const value = (text: string, indent: number): Yaml => {
    if (text === '|') return block(indent)
    if (text !== '') return scalar(text)
    const next = peek()
    if (next === undefined || next.indent <= indent) return ''
    return next.text.startsWith('- ') ? list(next.indent) : map(next.indent)
  }
  const map = (indent: number): Yaml => {
    const entries: [string, Yaml][] = []
    for (let line = peek(); line?.indent === indent; line = peek()) {
      const [, key, rest] = /^([\w-]+):(?: (.*))?$/.exec(line.text) ?? []
      if (key === undefined) throw new Error(`no key: ${line.text}`)
      at++
      entries.push([key, value(rest ?? '', indent)])
    }
    return Object.fromEntries(entries)
  }
  const list = (indent: number): Yaml => {
    const items: Yaml[] = []
    for (let line = peek(); line?.indent === indent && line.text.startsWith('- '); line = peek()) {
      const item = line.text.slice(2)
      if (!/^[\w-]+:(?: |$)/.test(item)) {
        at++
        items.push(scalar(item))
        continue
      }
      // an item's first key stands after the dash: the rest of its map is as far in
      lines[at] = `${' '.repeat(indent + 2)}${line.text.slice(2)}`
      items.push(map(indent + 2))
    }
    return items
  }
  const read = map(0)
  const left = peek()
  if (left !== undefined) throw new Error(`can't be read: ${left.text}`)
  return read
}

function scalar(text: string): string {
  const [, single, double] = /^(?:'([^']*)'|"([^"\\]*)")$/.exec(text) ?? []
  const quoted = single ?? double
  if (quoted !== undefined) return quoted
  if (/^["'|>&*!%@`{[]|: | #/.test(text)) throw new Error(`no plain scalar: ${text}`)
  return text
}
