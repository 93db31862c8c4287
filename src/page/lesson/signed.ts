import { short } from '../../text/numbers.ts'

/** A number for a formula or a sentence, with a minus as wide as a plus. */
export const signed = (x: number, digits: number) => short(x, digits).replace('-', '−')
