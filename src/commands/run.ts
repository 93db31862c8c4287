import { EventEmitter } from 'node:events'
import { Command, CommanderError, Help, Option } from 'commander'
import { badUsage, ExitCode } from '../errors.ts'
import { reportError } from '../report/error.ts'
import { type ProcessIo, type Terminal, terminalOf } from '../terminal/terminal.ts'
import { version } from '../version.ts'
import { addApply } from './apply/command.ts'
import { addCheck } from './check/command.ts'
import { addCompare } from './compare/command.ts'
import { addConvert } from './convert/command.ts'
import { addDemo } from './demo/command.ts'
import { addDoctor } from './doctor/command.ts'
import { addExtract } from './extract/command.ts'
import { addFactor } from './factor/command.ts'
import { common, type Run } from './flags.ts'
import { foreignOption, shardOption } from './foreign-options.ts'
import { addInspect } from './inspect/command.ts'
import { addMerge } from './merge/command.ts'
import { addResize } from './resize/command.ts'
import { addVerify } from './verify/command.ts'

/** Texts of `lora-svd help <topic>`. */
const helpTopics: Record<string, string> = {
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
  HF_TOKEN          who asks the Hub for hf://; else what hf auth login left
  HF_ENDPOINT       another server that speaks as the Hub does
  HF_HUB_OFFLINE    1: nothing is fetched
  HF_HOME           where Hugging Face's cache and token are
  SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX
                    which shard this is, for --shard auto
  NO_COLOR          set and not empty: no colour (no-color.org)
  FORCE_COLOR       1, 2, 3: colour even into a pipe; 0: none
  TERM=dumb         no colour
An option on the command line comes before its variable. For colour the first
that speaks decides: --color or --no-color, NO_COLOR, FORCE_COLOR, TERM=dumb,
then whether the output is a terminal.
`,
}

const AFTER_HELP = `
Start with:
  lora-svd demo --d 10 --k 10 --rank 2

Wherever a path is taken, so is hf://org/name[@revision][/path], or https://.

More: lora-svd help <command>, help exit-codes, help environment`

/**
 * The whole command line: runs `argv`, prints to the streams of `io`, and gives the exit code. It ends no process, and knows of none
 * but by `io`, from whose `env` it deletes what is set to nothing.
 */
export async function run(argv: readonly string[], io: ProcessIo): Promise<number> {
  dropEmptyVariables(io.env)
  const terminal = terminalOf(io, colourFlag(argv))
  let exitCode: number = ExitCode.ok
  const fail = async (thrown: unknown) => {
    const error = inOurWords(thrown, program, argv)
    const [json, debug] = [argv.includes('--json'), argv.includes('--debug')]
    exitCode = await reportError(error, terminal, { json, debug, help: helpFor(program, argv) })
  }
  const runCommand: Run = async (work) => {
    try {
      exitCode = await work(terminal)
    } catch (error) {
      await fail(error)
    }
  }
  const written: Promise<void>[] = []
  const program = buildProgram(argv[0], terminal, runCommand, (text) => written.push(terminal.out(text)))
  if (argv.length === 0) {
    terminal.err(program.helpInformation())
    return ExitCode.badInput
  }
  try {
    await program.parseAsync(argv, { from: 'user' }).catch((error: unknown) => {
      // commander throws for --help and --version too, after it has printed them.
      if (!(error instanceof CommanderError && error.exitCode === ExitCode.ok)) throw error
    })
    await Promise.all(written)
  } catch (error) {
    await fail(error)
  }
  return exitCode
}

const { emit } = EventEmitter.prototype

/** commander's Command, which its types don't show as an emitter, but for whose variables of the environment options are set by. */
class CommandIn extends Command {
  readonly env: Terminal['env']

  constructor(name: string | undefined, env: Terminal['env']) {
    super(name)
    this.env = env
  }

  override createCommand(name?: string): Command {
    return new CommandIn(name, this.env)
  }

  /** In place of commander's own, which looks at those of the process. The command line has been read: it comes first. */
  _parseOptionsEnv(): void {
    for (const option of this.options) {
      const value = option.envVar === undefined ? undefined : this.env[option.envVar]
      const source = this.getOptionValueSource(option.attributeName())
      if (value === undefined || source === 'cli') continue
      emit.call(this, `optionEnv:${option.name()}`, value)
    }
  }
}

/** In the order of `--help`. */
const COMMANDS: Readonly<Record<string, (program: Command, run: Run) => void>> = {
  demo: addDemo,
  inspect: addInspect,
  extract: addExtract,
  verify: addVerify,
  resize: addResize,
  merge: addMerge,
  apply: addApply,
  check: addCheck,
  convert: addConvert,
  compare: addCompare,
  factor: addFactor,
  doctor: addDoctor,
}

/**
 * The commands, their options and help; of commands only the one that the command line begins with, where it begins with one.
 * Output settings come first, as commander copies them into each command.
 */
function buildProgram(
  first: string | undefined,
  terminal: Terminal,
  run: Run,
  writeOut: (text: string) => void,
): Command {
  const program = new CommandIn('lora-svd', terminal.env)
    .description('See how low the rank of a weight matrix really is, and turn it into LoRA factors.')
    .usage('<command> [options]')
    .version(version, '-V, --version', 'show the version')
    .helpCommand(false)
    .helpOption('-h, --help', 'show this help')
    .exitOverride()
    .configureOutput({
      writeOut,
      // Errors of the command line are reported by `run`, on one line like all others.
      writeErr: () => {},
      getOutHelpWidth: () => terminal.columns,
      getOutHasColors: () => terminal.paint.level > 0,
    })
    .configureHelp({
      // commander adds "(default: false)" to every flag, and "(default: [])" to what may be repeated.
      optionDescription: (option) =>
        option.isBoolean() || Array.isArray(option.defaultValue)
          ? option.description
          : new Help().optionDescription(option),
      styleTitle: (text) => terminal.paint.bold(text),
      styleCommandText: (text) => terminal.paint.cyan(text),
      styleOptionTerm: (text) => terminal.paint.cyan(text),
      styleSubcommandTerm: (text) => terminal.paint.cyan(text),
    })
    .addHelpText('after', AFTER_HELP)
    .allowExcessArguments(false)
  for (const option of common.colour()) program.addOption(option)
  const isOne = first !== undefined && Object.hasOwn(COMMANDS, first)
  for (const add of isOne ? [COMMANDS[first]] : Object.values(COMMANDS)) add(program, run)
  for (const command of program.commands) addCommonOptions(command)
  addHelp(program, terminal)
  return program
}

/** Commands that read no weights. */
const OFFLINE = new Set(['demo', 'doctor'])

function addCommonOptions(command: Command): void {
  const group = 'In every command:'
  command.optionsGroup(group)
  for (const option of [
    common.json(),
    common.quiet(),
    common.engine(),
    common.threads(),
    ...(OFFLINE.has(command.name()) ? [] : [common.online(), common.cache()]),
    ...common.colour(),
    common.debug(),
  ])
    command.addOption(option)
  command.addHelpOption(new Option('-h, --help', 'show this help').helpGroup(group))
}

/** `help`, `help <command>` and `help <topic>`. */
function addHelp(program: Command, terminal: Terminal): void {
  program
    .command('help')
    .summary('help for a command, or on exit-codes or environment')
    .argument('[topic]', 'a command, exit-codes, or environment')
    .action(async (topic?: string) => {
      if (topic === undefined) return program.outputHelp()
      if (Object.hasOwn(helpTopics, topic)) return terminal.out(helpTopics[topic])
      const command = program.commands.find((candidate) => candidate.name() === topic)
      if (command !== undefined) return command.outputHelp()
      const known = [...program.commands.map((candidate) => candidate.name()), ...Object.keys(helpTopics)]
      throw badUsage(`no help on '${topic}': there is ${known.join(', ')}`)
    })
}

/** The command that `argv` names. */
function commandIn(program: Command, argv: readonly string[]): string | undefined {
  const name = argv.find((argument) => !argument.startsWith('-'))
  return program.commands.some((command) => command.name() === name) ? name : undefined
}

/** The command line that shows the help of the command in `argv`. */
function helpFor(program: Command, argv: readonly string[]): string {
  const name = commandIn(program, argv)
  return name === undefined ? 'lora-svd --help' : `lora-svd ${name} --help`
}

/** An option that another tool has, and this one under another name, is told by that. */
function inOurWords(error: unknown, program: Command, argv: readonly string[]): unknown {
  if (!(error instanceof CommanderError) || error.code !== 'commander.unknownOption') return error
  const flag = /'([^']+)'/.exec(error.message)?.[1] ?? ''
  const name = commandIn(program, argv)
  const own = shardOption(name, flag)
  if (own !== undefined) return badUsage(`${flag}: ${own}; see ${helpFor(program, argv)}`)
  const here = foreignOption(name, flag)
  return here === undefined
    ? error
    : badUsage(`${flag} is another tool's: here it is ${here}; see ${helpFor(program, argv)}`)
}

/** `LORA_SVD_ENGINE=` is how a shell takes a setting back: it means what an unset variable does. */
function dropEmptyVariables(env: ProcessIo['env']): void {
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith('LORA_SVD_') && value === '') delete env[name]
  }
}

/** What colour the command line asks for; the last of the two flags counts, as for commander. */
function colourFlag(argv: readonly string[]): boolean | undefined {
  const options = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : argv.length)
  const last = Math.max(options.lastIndexOf('--color'), options.lastIndexOf('--no-color'))
  return last < 0 ? undefined : options[last] === '--color'
}
