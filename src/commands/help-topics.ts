/** Texts of `lora-svd help <topic>`. */
export const helpTopics: Record<string, string> = {
  'exit-codes': `Exit codes of every command:
    0  all done, and every check holds
    1  a check does not hold: not allclose, or an error above what was asked
    2  the command line or an input is bad; nothing was written
    3  the machine failed us: disk full, no permission, out of memory; nothing
       half-written is left
  130  interrupted
A reader that closes the pipe (| head) is no error.
`,
  environment: `Environment variables:
  LORA_SVD_ENGINE   auto, wasm or lapack, as --engine
  LORA_SVD_THREADS  how many threads compute, as --threads
  LORA_SVD_LAPACK   path of the LAPACK library to use
  NO_COLOR          set and not empty: no colour (no-color.org)
  FORCE_COLOR       1, 2, 3: colour even into a pipe; 0: none
  TERM=dumb         no colour
An option on the command line comes before its variable. For colour the first
that speaks decides: --color or --no-color, NO_COLOR, FORCE_COLOR, TERM=dumb,
then whether the output is a terminal.
`,
}
