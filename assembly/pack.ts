/**
 * Packing: copies a block of a stored matrix into panels `width` entries wide, the layout the micro-kernels
 * read: panel after panel, in each [depth][width], widened to the arithmetic type D. Entries beyond `count`
 * are zero, and nothing outside the block is read. See Goto & van de Geijn, "Anatomy of high-performance
 * matrix multiplication", ACM TOMS 34 (2008), section 4.
 */
import { TypeCode } from '../src/engine/wasm/contract'
import { Bf16, F16, loadScalar, loadVector } from './widen'

/** Rows of the source copied together, so that each panel gets whole cache lines at a time. */
const DEPTH_STEP: u32 = 4

/** A block whose rows run along the panels' width: entry (p, i) at source + (p·stride + i). */
function packAlong<S, D>(
  target: usize,
  source: usize,
  stride: usize,
  count: u32,
  depth: u32,
  width: u32,
): void {
  const lanes: u32 = 16 / sizeof<D>()
  for (let p0: u32 = 0; p0 < depth; p0 += DEPTH_STEP) {
    const p1 = min(depth, p0 + DEPTH_STEP)
    for (let i0: u32 = 0; i0 < count; i0 += width) {
      const filled = min(width, count - i0)
      let out = target + ((i0 * depth + p0 * width) as usize) * sizeof<D>()
      for (let p = p0; p < p1; p++) {
        const row = source + ((p as usize) * stride + i0) * sizeof<S>()
        let i: u32 = 0
        for (; i + lanes <= filled; i += lanes) {
          v128.store(out + i * sizeof<D>(), loadVector<S, D>(row + i * sizeof<S>()))
        }
        for (; i < filled; i++) store<D>(out + i * sizeof<D>(), loadScalar<S, D>(row + i * sizeof<S>()))
        for (; i < width; i++) store<D>(out + i * sizeof<D>(), 0)
        out += width * sizeof<D>()
      }
    }
  }
}

/** A block whose rows run along the depth: entry (p, i) at source + (i·stride + p). */
function packAcross<S, D>(
  target: usize,
  source: usize,
  stride: usize,
  count: u32,
  depth: u32,
  width: u32,
): void {
  const lanes: u32 = 16 / sizeof<D>()
  const step = width * sizeof<D>()
  for (let i0: u32 = 0; i0 < count; i0 += width) {
    const panel = target + ((i0 * depth) as usize) * sizeof<D>()
    for (let i = i0; i < i0 + width; i += lanes) {
      let out = panel + (i - i0) * sizeof<D>()
      const row = source + (i as usize) * stride * sizeof<S>()
      let p: u32 = 0
      if (i + lanes <= count) {
        for (; p + lanes <= depth; p += lanes) {
          transposeSquare<S, D>(out, step, row + p * sizeof<S>(), stride * sizeof<S>())
          out += lanes * step
        }
      }
      for (; p < depth; p++) {
        for (let r: u32 = 0; r < lanes; r++) {
          const address = row + ((r as usize) * stride + p) * sizeof<S>()
          store<D>(out + r * sizeof<D>(), i + r < count ? loadScalar<S, D>(address) : 0)
        }
        out += step
      }
    }
  }
}

/** Transposes one 4×4 (f32) or 2×2 (f64) square; steps in bytes. */
function transposeSquare<S, D>(target: usize, targetStep: usize, source: usize, sourceStep: usize): void {
  const r0 = loadVector<S, D>(source)
  const r1 = loadVector<S, D>(source + sourceStep)
  if (sizeof<D>() === 8) {
    v128.store(target, v128.shuffle<f64>(r0, r1, 0, 2))
    v128.store(target + targetStep, v128.shuffle<f64>(r0, r1, 1, 3))
  } else {
    const r2 = loadVector<S, D>(source + 2 * sourceStep)
    const r3 = loadVector<S, D>(source + 3 * sourceStep)
    const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5)
    const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7)
    const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5)
    const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7)
    v128.store(target, v128.shuffle<f64>(low01, low23, 0, 2))
    v128.store(target + targetStep, v128.shuffle<f64>(low01, low23, 1, 3))
    v128.store(target + 2 * targetStep, v128.shuffle<f64>(high01, high23, 0, 2))
    v128.store(target + 3 * targetStep, v128.shuffle<f64>(high01, high23, 1, 3))
  }
}

function packAs<S, D>(
  target: usize,
  base: usize,
  stride: usize,
  along: bool,
  first: u32,
  count: u32,
  firstDepth: u32,
  depth: u32,
  width: u32,
): void {
  if (along) {
    const source = base + ((firstDepth as usize) * stride + first) * sizeof<S>()
    packAlong<S, D>(target, source, stride, count, depth, width)
  } else {
    const source = base + ((first as usize) * stride + firstDepth) * sizeof<S>()
    packAcross<S, D>(target, source, stride, count, depth, width)
  }
}

/**
 * Packs entries [first, first + count) × depths [firstDepth, firstDepth + depth) of the matrix stored at
 * `base` as `type`, with `stride` entries a row. `along`: rows run along the panels' width, not the depth.
 */
export function pack<D>(
  target: usize,
  base: usize,
  type: u32,
  stride: usize,
  along: bool,
  first: u32,
  count: u32,
  firstDepth: u32,
  depth: u32,
  width: u32,
): void {
  if (type === TypeCode.f64) {
    packAs<f64, D>(target, base, stride, along, first, count, firstDepth, depth, width)
  } else if (type === TypeCode.bf16) {
    packAs<Bf16, D>(target, base, stride, along, first, count, firstDepth, depth, width)
  } else if (type === TypeCode.f16) {
    packAs<F16, D>(target, base, stride, along, first, count, firstDepth, depth, width)
  } else {
    packAs<f32, D>(target, base, stride, along, first, count, firstDepth, depth, width)
  }
}
