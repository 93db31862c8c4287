/** What the rooms use of node:util. */

export const types = {
  isTypedArray: (value: unknown): boolean => ArrayBuffer.isView(value) && !(value instanceof DataView),
}

/** Nothing that a page shows has been coloured for a terminal. */
export const stripVTControlCharacters = (text: string): string => text
