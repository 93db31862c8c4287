/**
 * A shape without the ones that end it, as far as two dimensions are left: the kernel [o, i, 1, 1] of a convolution is the
 * matrix [o, i] of a linear layer.
 */
export function formOf(shape: readonly number[]): readonly number[] {
  let length = shape.length
  while (length > 2 && shape[length - 1] === 1) length--
  return shape.slice(0, length)
}

/** Whether two tensors hold the same matrices by their shapes. */
export function isSameForm(a: readonly number[], b: readonly number[]): boolean {
  const [x, y] = [formOf(a), formOf(b)]
  return x.length === y.length && x.every((n, i) => n === y[i])
}
