import { type Control, control, integers } from './controls.ts'
import { keptOf, type Lesson } from './lesson.ts'

/** How many directions are kept, as a slider with this id; wherever it is moved, the others follow. */
export function cutControl(id: string, lesson: Lesson): Control {
  const most = () => Math.min(lesson.choices().d, lesson.choices().k)
  const cut = control(
    id,
    'r, directions kept',
    integers(1, 1),
    (value) => lesson.choose({ truncate: value }),
    (value) => Number.isInteger(value) && value >= 1 && value <= most(),
  )
  lesson.onChoice((chosen) => cut.show(keptOf(chosen), integers(1, most())))
  return cut
}
