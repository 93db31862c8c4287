/** to = (from + 0)·first·second for `count` float32 numbers, rounded after each product. The sum makes −0 0. */
export function rescale(count: u32, from: usize, to: usize, first: f32, second: f32): void {
  const zero = f32x4.splat(0)
  const firsts = f32x4.splat(first)
  const seconds = f32x4.splat(second)
  let i: u32 = 0
  for (; i + 4 <= count; i += 4) {
    const v = f32x4.add(v128.load(from), zero)
    v128.store(to, f32x4.mul(f32x4.mul(v, firsts), seconds))
    from += 16
    to += 16
  }
  for (; i < count; i++) {
    store<f32>(to, (load<f32>(from) + 0) * first * second)
    from += 4
    to += 4
  }
}
