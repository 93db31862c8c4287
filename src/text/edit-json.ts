import { jsonReader } from './strict-json.ts'

/** The members to put for those of a JSON object, and, by their keys, the edits of objects in it that are there. */
export interface JsonEdits {
  readonly set: Readonly<Record<string, unknown>>
  readonly within?: Readonly<Record<string, JsonEdits>>
}

/**
 * A JSON text with some of its members set, and all else as it was written, numbers to the letter. Members that aren't there come
 * last. Throws JsonError where the text is no object.
 */
export function editedJson(text: string, edits: JsonEdits): string {
  return `${edited(text, edits, '  ')}\n`
}

function edited(text: string, { set, within = {} }: JsonEdits, indent: string): string {
  const members: string[] = []
  const rest = new Map(Object.entries(set))
  const json = jsonReader(text)
  const member = (key: string, value: string) => members.push(`${indent}${JSON.stringify(key)}: ${value}`)
  json.object((key) => {
    const isObject = json.peek() === '{'
    const value = json.skip()
    if (rest.has(key)) {
      member(key, JSON.stringify(rest.get(key)))
      rest.delete(key)
    } else if (isObject && within[key] !== undefined) member(key, edited(value, within[key], `${indent}  `))
    else member(key, value)
  })
  json.end()
  for (const [key, value] of rest) member(key, JSON.stringify(value))
  return members.length === 0 ? '{}' : `{\n${members.join(',\n')}\n${indent.slice(2)}}`
}
