/**
 * The address of the page's own program, of which workers are made: a blob, so that the page needs no second file. It is set once, when
 * a page or a worker starts.
 */
let address = ''

export const programAddress = (): string => address

export function useProgram(url: string): void {
  address = url
}
