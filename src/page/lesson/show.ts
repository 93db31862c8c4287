import { byId } from '../../browser/dom.ts'
import { type DemoOptions, demoSettings } from '../../commands/demo/options.ts'
import { workerNotice } from '../ask.ts'
import { showCommand } from './command.ts'
import { showComparison } from './comparison.ts'
import { showCosts } from './costs.ts'
import { showDirections } from './directions.ts'
import { showFactors } from './factors.ts'
import { type Choices, createLesson } from './lesson.ts'
import { showProduct } from './product.ts'
import { showSpectrum } from './spectrum.ts'

/** The options that a page is made with, as JSON carries them: a seed may be too large for a number. */
export type StartOptions = Omit<DemoOptions, 'seed'> & { readonly seed?: string }

/** Fills the places of the lesson. */
export function showLesson(): void {
  const { seed, ...rest } = JSON.parse(byId('start').textContent ?? '') as StartOptions
  const settings = demoSettings({ ...rest, ...(seed !== undefined && { seed: BigInt(seed) }) })
  const first: Choices = { ...settings, truncate: rest.truncate }
  const lesson = createLesson(first)
  showProduct(byId('play-product'), lesson)
  showSpectrum(byId('play-spectrum'), lesson)
  showDirections(byId('play-directions'), lesson)
  showFactors(byId('play-factors'), lesson)
  showComparison(byId('play-comparison'), lesson)
  showCosts(byId('play-costs'), lesson)
  showCommand(lesson)
  const trouble = byId('trouble')
  const say = (text: string) => {
    trouble.textContent = text
    trouble.hidden = text === ''
  }
  lesson.onTrouble(say)
  lesson.onRun(({ notice }) => say([workerNotice(), notice].filter(Boolean).join(' ')))
}
