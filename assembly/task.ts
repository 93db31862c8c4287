/** The task that a caller has written, read where it lies; TaskField says what its words mean. */
import { TaskField } from '../src/engine/wasm/contract'

@unmanaged
export class Task {
  get kind(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.kind << 2)
  }
  get tiles(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.tiles << 2)
  }
  get arithmetic(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.arithmetic << 2)
  }
  get m(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.m << 2)
  }
  get n(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.n << 2)
  }
  get k(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.k << 2)
  }
  get a(): usize {
    return load<usize>(changetype<usize>(this), TaskField.a << 2)
  }
  get typeA(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.typeA << 2)
  }
  get strideA(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.strideA << 2)
  }
  get transposeA(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.transposeA << 2)
  }
  get b(): usize {
    return load<usize>(changetype<usize>(this), TaskField.b << 2)
  }
  get typeB(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.typeB << 2)
  }
  get strideB(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.strideB << 2)
  }
  get transposeB(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.transposeB << 2)
  }
  get c(): usize {
    return load<usize>(changetype<usize>(this), TaskField.c << 2)
  }
  get strideC(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.strideC << 2)
  }
  get accumulate(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.accumulate << 2)
  }
  get lowerOnly(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.lowerOnly << 2)
  }
  get tileRows(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.tileRows << 2)
  }
  get tileColumns(): u32 {
    return load<u32>(changetype<usize>(this), TaskField.tileColumns << 2)
  }
  get partials(): usize {
    return load<usize>(changetype<usize>(this), TaskField.partials << 2)
  }

  /** Takes the next tile that nobody has taken. */
  take(): u32 {
    return atomic.add<u32>(changetype<usize>(this), 1, TaskField.next << 2)
  }
}
