/** What a POSIX shell takes as it stands, in any place of a command. */
const PLAIN = /^[\w%+:,./@^-]+$/
/** What a terminal or a page would not show: bash's and zsh's $'…' spells it. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

/** A text as one word of a shell's command. */
export function shellWord(text: string): string {
  if (PLAIN.test(text)) return text
  if (!HIDDEN.test(text)) return `'${text.replaceAll("'", "'\\''")}'`
  const spelled = Array.from(text, (character) => {
    if (character === '\\' || character === "'") return `\\${character}`
    if (!HIDDEN.test(character)) return character
    return `\\U${character.codePointAt(0)!.toString(16).padStart(8, '0')}`
  })
  return `$'${spelled.join('')}'`
}
