/** The option `rank` of the function `name`. Throws TypeError unless a matrix with `most` singular values can have it. */
export function checkRank(name: string, rank: number, most: number): number {
  if (Number.isInteger(rank) && rank >= 1 && rank <= most) return rank
  if (most === 0) throw new TypeError(`${name} option rank: a matrix without entries has no singular values`)
  throw new TypeError(`${name} option rank is an integer from 1 to ${most}, not ${rank}`)
}
