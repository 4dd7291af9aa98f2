// The tree of `qiao <noun> <verb>`: each noun registers its own verbs. Options that every verb takes live here.

import { diskFull, fileRefused, VERSION } from '@qiao/runtime';
import { Command, CommanderError } from 'commander';
import { registerAgent } from './agent.ts';
import { registerAlert } from './alert.ts';
import { registerApply } from './apply.ts';
import { registerAudit } from './audit.ts';
import { registerBridge } from './bridge.ts';
import { registerCompletion } from './completion.ts';
import { EXIT, exitCodeOf } from './exitCodes.ts';
import { registerHub } from './hub.ts';
import { registerMonitor } from './monitor.ts';
import { registerNode } from './node.ts';
import { registerOperator } from './operator.ts';
import { printError } from './output.ts';
import { registerQuarantine } from './quarantine.ts';
import { registerReconcile } from './reconcile.ts';
import { registerWatch } from './watch.ts';

const PROCESSES = new Set(['hub', 'monitor', 'agent']);
const WRITING = new Set(['init', 'join', 'start', 'backup', 'restore', 'backup-key']);

/** Builds the whole command tree; runs nothing. */
export function createProgram(): Command {
  const program = new Command('qiao')
    .description('Qiao (桥): exchange between departments, with books that balance')
    .version(VERSION)
    .option('--context <dir>', "the operator's context (default: QIAO_CONTEXT, else ~/.config/qiao)")
    .option('--json', 'answer as one JSON document')
    .showHelpAfterError('Run the command with --help to see what it takes.')
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true });
  program.hook('preAction', (_program, action) => {
    // Keys, databases and logs are the user's alone, whoever made the directory and whatever the shell's mask is.
    if (PROCESSES.has(action.parent?.name() ?? '') && WRITING.has(action.name())) process.umask(0o077);
  });
  registerHub(program);
  registerMonitor(program);
  registerAgent(program);
  registerNode(program);
  registerBridge(program);
  registerApply(program);
  registerReconcile(program);
  registerWatch(program);
  registerQuarantine(program);
  registerAlert(program);
  registerAudit(program);
  registerOperator(program);
  registerCompletion(program);
  return program;
}

/** Runs one command line and returns its exit code. Errors are printed, never thrown. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const program = createProgram();
  for (const command of everyCommand(program)) command.exitOverride();
  process.exitCode = EXIT.done;
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return process.exitCode ?? EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    const known = diskFull(error) ?? fileRefused(error) ?? error;
    printError(known, argv.includes('--json'));
    return exitCodeOf(known);
  }
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}
