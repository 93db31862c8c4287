/**
 * The float32 fused multiply-add: a·b + c for float32 a, b, c, rounded once to float32, as the x86 FMA instructions do.
 * Right while nothing overflows and no result is subnormal.
 *
 * a·b is exact in float64; the float64 sum may be rounded, which matters only where it lands halfway between two float32
 * numbers. There the part rounded off (D. E. Knuth, TAOCP vol. 2, 4.2.2, "TwoSum") says which of the two it is.
 */
export function fusedMultiplyAdd32(a: number, b: number, c: number): number {
  const product = a * b
  const sum = product + c
  const rounded = Math.fround(sum)
  const mirrored = sum + (sum - rounded)
  if (mirrored === rounded || Math.fround(mirrored) !== mirrored) return rounded
  const part = sum - product
  const lost = product - (sum - part) + (c - part)
  if (lost === 0) return rounded
  return lost > 0 ? Math.max(rounded, mirrored) : Math.min(rounded, mirrored)
}
