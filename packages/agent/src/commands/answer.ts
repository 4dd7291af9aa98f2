// Commands of the hub over request and reply: the signature, the addressee and the expiry are checked before anything is
// read, one id is executed once, and every answer is signed by this node.

import { Command, CommandOutcome, CommandResult } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, readMessage } from '@qiao/exchange';
import { type Clock, crashPoint, describeError, type Log, type Part } from '@qiao/runtime';
import { idOrEmpty, type Trust } from '../control/trust.ts';

export interface CommandPorts {
  readonly nodeId: string;
  readonly hubCertificate: Uint8Array;
  readonly trust: Trust;
  /** Serves requests on this node's command subject until the signal aborts. */
  respond(handler: (bytes: Uint8Array) => Promise<Uint8Array>, signal: AbortSignal): Promise<void>;
  execute(command: Command): Promise<CommandResult>;
  sign(payload: Uint8Array): Signed;
  /** Ids that were begun, on disk: false for one that was before. */
  readonly seen: { take(id: Uint8Array, expiresAtMs: number, nowMs: number): boolean };
  readonly clock: Clock;
  readonly log: Log;
}

/** Answers are kept until their command expires, at most this many: a repeated request gets the same answer. */
const KEPT_ANSWERS = 256;
/** The hub waits seconds for an answer. A command that is good for longer would be a key left in the door. */
const LONGEST_LIFE_MS = 10 * 60_000;

export function commandsPart(ports: CommandPorts): Part {
  const answers = new Map<string, { expiresAtMs: number; answer: Promise<Uint8Array> }>();

  async function answer(bytes: Uint8Array): Promise<Uint8Array> {
    const command = openCommand(bytes, ports);
    const id = idOrEmpty(command.id);
    forgetExpired(answers, ports.clock.nowMs());
    const held = answers.get(id);
    if (held !== undefined) return held.answer;
    if (answers.size >= KEPT_ANSWERS) {
      throw new QiaoError('COMMANDS_TOO_MANY', `this agent holds ${KEPT_ANSWERS} unexpired answers`, {
        hint: 'try again in a minute',
        fate: 'transient',
      });
    }
    // Before it is carried out: a crash between leaves a command that was not done, and its operator asks again.
    if (!ports.seen.take(command.id, Number(command.expiresAtMs), ports.clock.nowMs())) {
      throw new QiaoError(
        'COMMAND_REPEATED',
        'the command was begun before this agent was started, and what came of it is not known',
        {
          hint: 'give the command again',
        },
      );
    }
    crashPoint('command.seen');
    const executed = execute(command, ports);
    answers.set(id, { expiresAtMs: Number(command.expiresAtMs), answer: executed });
    return executed;
  }

  return {
    name: 'commands',
    run: (signal) => ports.respond(answer, signal),
  };
}

/** Throws COMMAND_INVALID, COMMAND_FOREIGN, COMMAND_EXPIRED (or good for too long) or the signature's own errors. */
function openCommand(bytes: Uint8Array, ports: CommandPorts): Command {
  let command: Command;
  const signed = decode(bytes, (encoded) => readMessage(Signed, encoded, 'signed command'));
  ports.trust.checkSigned('qiao.command.v1', signed, ports.hubCertificate);
  command = decode(signed.payload, (encoded) => readMessage(Command, encoded, 'command'));
  if (idOrEmpty(command.nodeId) !== ports.nodeId || idOrEmpty(command.id) === '') {
    throw new QiaoError(
      'COMMAND_FOREIGN',
      `the command is for node ${idOrEmpty(command.nodeId)}, this is ${ports.nodeId}`,
    );
  }
  const nowMs = ports.clock.nowMs();
  const leftMs = command.expiresAtMs - BigInt(nowMs);
  if (leftMs < 0n || leftMs > BigInt(LONGEST_LIFE_MS)) {
    throw new QiaoError(
      'COMMAND_EXPIRED',
      `the command is good for another ${leftMs} ms by this node’s clock, expected 0 to ${LONGEST_LIFE_MS}`,
      { hint: 'compare the clocks: qiao agent preflight' },
    );
  }
  return command;
}

async function execute(command: Command, ports: CommandPorts): Promise<Uint8Array> {
  ports.log.info({ command: command.command?.$case, operator: command.operator }, 'command');
  let result: CommandResult;
  try {
    result = await ports.execute(command);
  } catch (error) {
    const problem =
      error instanceof QiaoError
        ? { code: error.code, path: '', message: error.message, hint: error.hint, warning: false }
        : {
            code: 'UNEXPECTED',
            path: '',
            message: 'the command failed on the node',
            hint: 'read the agent’s log',
            warning: false,
          };
    if (!(error instanceof QiaoError)) ports.log.error({ err: describeError(error) }, 'command failed');
    result = CommandResult.fromPartial({ outcome: CommandOutcome.NOT_DONE, problems: [problem] });
  }
  return Signed.encode(ports.sign(CommandResult.encode({ ...result, id: command.id }).finish())).finish();
}

function forgetExpired(answers: Map<string, { expiresAtMs: number }>, nowMs: number): void {
  for (const [id, { expiresAtMs }] of answers) if (expiresAtMs < nowMs) answers.delete(id);
}

function decode<T>(bytes: Uint8Array, read: (bytes: Uint8Array) => T): T {
  try {
    return read(bytes);
  } catch (error) {
    throw new QiaoError('COMMAND_INVALID', 'the command cannot be decoded', { cause: error });
  }
}
