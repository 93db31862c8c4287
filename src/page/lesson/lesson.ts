import type { DemoOptions, DemoSettings } from '../../commands/demo/options.ts'
import { type Asked, openWorker } from '../ask.ts'
import type { LessonRun } from './tasks.ts'

/** What a reader can set: the options of `demo`, all but what says how it is computed. */
export type Choices = Omit<DemoSettings, 'truncate'> & {
  /** Undefined: it follows the rank. */
  readonly truncate: number | undefined
}

/** The experiment that the page shows, and all that listens to it. */
export interface Lesson {
  choices(): Choices
  /** Changes some options, brings the others within their limits, and runs the notebook. */
  choose(change: Partial<Choices>): void
  /** Is called with each run, and at once with the last one. */
  onRun(listener: (run: LessonRun) => void): void
  /** Is called whenever options change, before the run that follows. */
  onChoice(listener: (choices: Choices) => void): void
  onTrouble(listener: (message: string) => void): void
  readonly worker: Asked
}

export function createLesson(first: Choices): Lesson {
  const worker = openWorker()
  const listeners = {
    run: [] as ((run: LessonRun) => void)[],
    choice: [] as ((choices: Choices) => void)[],
    trouble: [] as ((message: string) => void)[],
  }
  let choices = first
  let last: LessonRun | undefined
  let isBusy = false
  let isStale = false

  /** One run at a time: what changes meanwhile is run once, when it is done. */
  function run(): void {
    isStale = isBusy
    if (isBusy) return
    isBusy = true
    worker
      .ask<LessonRun>('notebook', optionsOf(choices))
      .then((found) => {
        last = found
        for (const listener of listeners.run) listener(found)
      })
      .catch((error: Error) => {
        for (const listener of listeners.trouble) listener(error.message)
      })
      .finally(() => {
        isBusy = false
        if (isStale) run()
      })
  }

  queueMicrotask(run)
  return {
    worker,
    choices: () => choices,
    choose(change) {
      choices = withinLimits({ ...choices, ...change })
      for (const listener of listeners.choice) listener(choices)
      run()
    },
    onRun(listener) {
      listeners.run.push(listener)
      if (last) listener(last)
    },
    onChoice(listener) {
      listeners.choice.push(listener)
      listener(choices)
    },
    onTrouble(listener) {
      listeners.trouble.push(listener)
    },
  }
}

function withinLimits(choices: Choices): Choices {
  const most = Math.min(choices.d, choices.k)
  const { rank, truncate } = choices
  return {
    ...choices,
    rank: Math.min(rank, most),
    truncate: truncate === undefined ? undefined : Math.min(truncate, most),
  }
}

export function optionsOf({ truncate, ...choices }: Choices): DemoOptions {
  return truncate === undefined ? choices : { ...choices, truncate }
}

/** How many directions are kept. */
export const keptOf = ({ truncate, rank }: Choices) => truncate ?? rank
