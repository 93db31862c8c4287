import { Command, CommanderError, Help, Option } from 'commander'
import { addDemo } from './commands/demo/command.ts'
import { addDoctor } from './commands/doctor/command.ts'
import { addExtract } from './commands/extract/command.ts'
import { addFactor } from './commands/factor/command.ts'
import { common, type Run } from './commands/flags.ts'
import { helpTopics } from './commands/help-topics.ts'
import { addInspect } from './commands/inspect/command.ts'
import { addVerify } from './commands/verify/command.ts'
import { badUsage, ExitCode } from './errors.ts'
import { reportError } from './report/error.ts'
import { processTerminal, type Terminal } from './terminal/terminal.ts'
import { version } from './version.ts'

const AFTER_HELP = `
Start with:
  lora-svd demo --d 10 --k 10 --rank 2

More: lora-svd help <command>, help exit-codes, help environment`

/** Runs the command line and sets the exit code; output is left to drain rather than cut off by process.exit. */
export async function main(argv: readonly string[]): Promise<void> {
  dropEmptyVariables(process.env)
  const terminal = processTerminal(process, colourFlag(argv))
  const fail = async (error: unknown) => {
    const [json, debug] = [argv.includes('--json'), argv.includes('--debug')]
    process.exitCode = await reportError(error, terminal, { json, debug, help: helpFor(program, argv) })
  }
  const run: Run = async (work) => {
    try {
      process.exitCode = await work(terminal)
    } catch (error) {
      await fail(error)
    }
  }
  const written: Promise<void>[] = []
  const program = buildProgram(terminal, run, (text) => written.push(terminal.out(text)))
  if (argv.length === 0) {
    terminal.err(program.helpInformation())
    process.exitCode = ExitCode.badInput
    return
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
}

/** The commands, their options and help. Output settings come first, as commander copies them into each command. */
export function buildProgram(terminal: Terminal, run: Run, writeOut: (text: string) => void): Command {
  const program = new Command('lora-svd')
    .description('See how low the rank of a weight matrix really is, and turn it into LoRA factors.')
    .usage('<command> [options]')
    .version(version, '-V, --version', 'show the version')
    .helpCommand(false)
    .helpOption('-h, --help', 'show this help')
    .exitOverride()
    .configureOutput({
      writeOut,
      // Errors of the command line are reported by `main`, on one line like all others.
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
  addDemo(program, run)
  addInspect(program, run)
  addExtract(program, run)
  addVerify(program, run)
  addFactor(program, run)
  addDoctor(program, run)
  for (const command of program.commands) addCommonOptions(command)
  addHelp(program, terminal)
  return program
}

function addCommonOptions(command: Command): void {
  const group = 'In every command:'
  command.optionsGroup(group)
  for (const option of [
    common.json(),
    common.quiet(),
    common.engine(),
    common.threads(),
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

/** The command line that shows the help of the command in `argv`. */
function helpFor(program: Command, argv: readonly string[]): string {
  const name = argv.find((argument) => !argument.startsWith('-'))
  const isCommand = program.commands.some((command) => command.name() === name)
  return isCommand ? `lora-svd ${name} --help` : 'lora-svd --help'
}

/** `LORA_SVD_ENGINE=` is how a shell takes a setting back: it means what an unset variable does. */
function dropEmptyVariables(env: NodeJS.ProcessEnv): void {
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
