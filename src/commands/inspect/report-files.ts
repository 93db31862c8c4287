/** The texts of the files that an inspection writes where it is asked to: loaded when there is one to be written. */
export { csvOf } from './csv.ts'
export { htmlReport } from './html/report.ts'
export { spectrumSvg } from './svg.ts'
