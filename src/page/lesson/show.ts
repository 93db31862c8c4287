import { byId } from '../../browser/dom.ts'
import type { DemoOptions } from '../../commands/demo/options.ts'
import { openWorker } from '../ask.ts'
import type { LessonRun } from './tasks.ts'

export function showLesson(): void {
  const start = JSON.parse(byId('start').textContent ?? '{}') as DemoOptions
  const worker = openWorker()
  worker.ask<LessonRun>('notebook', start).then(({ document: found }) => {
    byId('first').textContent = JSON.stringify(found)
  })
}
