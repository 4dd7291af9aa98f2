// Owns asking a node to look at something: a signed command over request and reply, its signed answer verified against the
// node's certificate. What the commands mean is the asker's business.

import { Command, CommandResult } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { type Codec, parseId, QiaoError, readMessage } from '@qiao/exchange';
import type { Clock } from '@qiao/runtime';
import type { Verifier } from '@qiao/security';
import type { NodeRow } from '../hubDatabase.ts';

export interface CommandPorts {
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  readonly sign: (payload: Uint8Array) => Signed;
  readonly verifier: Verifier;
  /** Request and reply on the node's command subject. */
  readonly request: (nodeCode: string, bytes: Uint8Array, timeoutMs: number) => Promise<Uint8Array>;
  readonly unanswered: UnansweredCommands;
}

/** A check opens connections and reads catalogs, never rows. Source and destinations one after the other fit a caller's 30 s. */
const COMMAND_TIMEOUT_MS = 12_000;
const UNANSWERED: ReadonlySet<string> = new Set(['NO_RESPONDER', 'REQUEST_TIMED_OUT']);
/** A node that says hello over and over is not asked over and over. */
const MOST_ASKS = 5;

/**
 * Commands that wait for their answer, by node. One that was on its way when the node's line broke reached nobody, and the bus does
 * not say so: at its hello, the first word over a new line, the node is asked again. It carries out one command once and answers it
 * as often as it is asked, or says COMMAND_REPEATED when it was started anew meanwhile. Where several replicas share the hellos the command may wait at another one, until its time is up.
 */
export class UnansweredCommands {
  readonly #byNode = new Map<string, Set<() => void>>();

  /** Calls `again` at each hello of the node until the function returned is called. */
  add(nodeCode: string, again: () => void): () => void {
    const waiting = this.#byNode.get(nodeCode) ?? new Set();
    this.#byNode.set(nodeCode, waiting.add(again));
    return () => {
      waiting.delete(again);
      if (waiting.size === 0 && this.#byNode.get(nodeCode) === waiting) this.#byNode.delete(nodeCode);
    };
  }

  /** The node said hello: it hears commands now. */
  nodeIsHere(nodeCode: string): void {
    for (const again of [...(this.#byNode.get(nodeCode) ?? [])]) again();
  }
}

/** Sends one command; the answer is read. See `askNode` for what it throws. */
export async function sendCommand(
  ports: CommandPorts,
  node: NodeRow,
  operator: string,
  command: NonNullable<Command['command']>,
): Promise<CommandResult> {
  return (await askNode(ports, node, operator, command)).result;
}

/** Sends one command; the answer also as the node signed it, for whoever verifies it himself. Throws NODE_SILENT (ambiguous: it may have heard), what the bus throws, COMMAND_ANSWER_INVALID, SIGNATURE_INVALID. */
export async function askNode(
  ports: CommandPorts,
  node: NodeRow,
  operator: string,
  command: NonNullable<Command['command']>,
): Promise<{ readonly result: CommandResult; readonly signed: Signed }> {
  if (node.certificate === null) {
    throw new QiaoError('NODE_NOT_JOINED', `"${node.code}" has not joined`, {
      hint: 'qiao agent join --token TOKEN  # at the node',
    });
  }
  const id = ports.random(16);
  const payload = Command.encode({
    id,
    nodeId: parseId(node.id),
    expiresAtMs: BigInt(ports.clock.nowMs() + 2 * COMMAND_TIMEOUT_MS),
    operator,
    command,
  }).finish();
  const answer = await untilAnswered(ports, node.code, Signed.encode(ports.sign(payload)).finish()).catch(
    (error: unknown) => {
      throw error instanceof QiaoError && UNANSWERED.has(error.code) ? silent(node.code, error) : error;
    },
  );
  const signed = read(Signed, answer, node.code);
  ports.verifier.verify('qiao.command.v1', signed, node.certificate);
  const result = read(CommandResult, signed.payload, node.code);
  if (Buffer.compare(result.id, id) !== 0) throw invalid(node.code, 'answers another command');
  return { result, signed };
}

/** The first answer to any of the asks. One that failed says nothing of those still out; the failure of the last is the command's. */
async function untilAnswered(ports: CommandPorts, nodeCode: string, bytes: Uint8Array): Promise<Uint8Array> {
  const answered = Promise.withResolvers<Uint8Array>();
  const endsAtMs = performance.now() + COMMAND_TIMEOUT_MS;
  let asks = 0;
  let open = 0;
  const ask = () => {
    const leftMs = endsAtMs - performance.now();
    if (asks >= MOST_ASKS || leftMs <= 0) return;
    asks += 1;
    open += 1;
    ports.request(nodeCode, bytes, leftMs).then(answered.resolve, (error: unknown) => {
      open -= 1;
      if (open === 0) answered.reject(error);
    });
  };
  const forget = ports.unanswered.add(nodeCode, ask);
  ask();
  try {
    return await answered.promise;
  } finally {
    forget();
  }
}

function silent(code: string, cause: unknown): QiaoError {
  return new QiaoError('NODE_SILENT', `"${code}" did not answer in time`, {
    hint: `does its agent run? qiao node show ${code}`,
    fate: 'ambiguous',
    cause,
  });
}

function read<T>(codec: Codec<T>, bytes: Uint8Array, code: string): T {
  try {
    return readMessage(codec, bytes, 'answer');
  } catch (cause) {
    throw invalid(code, 'cannot be read', cause);
  }
}

function invalid(code: string, why: string, cause?: unknown): QiaoError {
  return new QiaoError('COMMAND_ANSWER_INVALID', `the answer of "${code}" ${why}`, {
    hint: `compare versions: qiao node show ${code}`,
    cause,
  });
}
