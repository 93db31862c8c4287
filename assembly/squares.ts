/** The squares of float32 numbers in float64, summed over rows and columns, each sum in the order of its terms. */

/** Rows at a time: their sums are strands, so that none waits for the one before. */
const ROWS: u32 = 4

/** The squares of two numbers. */
function squares(at: usize): v128 {
  const d = f64x2.promote_low_f32x4(v128.load64_zero(at))
  return f64x2.mul(d, d)
}

function square(at: usize): f64 {
  const d = load<f32>(at) as f64
  return d * d
}

function addFourRows(columns: u32, a: usize, byRow: usize, byColumn: usize): void {
  const stride = (columns as usize) << 2
  const b = a + stride
  const c = b + stride
  const d = c + stride
  let firstTwo = f64x2.splat(0)
  let lastTwo = f64x2.splat(0)
  let j: u32 = 0
  for (; j + 2 <= columns; j += 2) {
    const at = (j as usize) << 2
    const p = squares(a + at)
    const q = squares(b + at)
    const r = squares(c + at)
    const s = squares(d + at)
    const sum = byColumn + ((j as usize) << 3)
    v128.store(sum, f64x2.add(f64x2.add(f64x2.add(f64x2.add(v128.load(sum), p), q), r), s))
    firstTwo = f64x2.add(f64x2.add(firstTwo, v128.shuffle<f64>(p, q, 0, 2)), v128.shuffle<f64>(p, q, 1, 3))
    lastTwo = f64x2.add(f64x2.add(lastTwo, v128.shuffle<f64>(r, s, 0, 2)), v128.shuffle<f64>(r, s, 1, 3))
  }
  v128.store(byRow, firstTwo)
  v128.store(byRow, lastTwo, 16)
  for (let i: u32 = 0; i < ROWS; i++) {
    addRow(j, columns, a + (i as usize) * stride, byRow + ((i as usize) << 3), byColumn)
  }
}

/** Adds the squares of a row from column `first` on. */
function addRow(first: u32, columns: u32, row: usize, byRow: usize, byColumn: usize): void {
  let sum = load<f64>(byRow)
  for (let j = first; j < columns; j++) {
    const term = square(row + ((j as usize) << 2))
    const ofColumn = byColumn + ((j as usize) << 3)
    sum += term
    store<f64>(ofColumn, load<f64>(ofColumn) + term)
  }
  store<f64>(byRow, sum)
}

/** The sum of the squares of each row of A [rows, columns], float32, into `byRow`; those of the columns are added to `byColumn`. */
export function addSquares(rows: u32, columns: u32, a: usize, byRow: usize, byColumn: usize): void {
  const stride = (columns as usize) << 2
  let i: u32 = 0
  for (; i + ROWS <= rows; i += ROWS) {
    addFourRows(columns, a + (i as usize) * stride, byRow + ((i as usize) << 3), byColumn)
  }
  for (; i < rows; i++) {
    const ofRow = byRow + ((i as usize) << 3)
    store<f64>(ofRow, 0)
    addRow(0, columns, a + (i as usize) * stride, ofRow, byColumn)
  }
}
