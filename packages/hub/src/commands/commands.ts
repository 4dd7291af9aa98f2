// Owns asking a node to look at something: a signed command over request and reply, its signed answer verified against the
// node's certificate. What the commands mean is the asker's business.

import { Command, CommandResult } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { parseId, QiaoError } from '@qiao/exchange';
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
}

/** A check opens connections and reads catalogs, never rows. Source and destinations one after the other fit a caller's 30 s. */
const COMMAND_TIMEOUT_MS = 12_000;

/** Sends one command; the answer is read. See `askNode` for what it throws. */
export async function sendCommand(
  ports: CommandPorts,
  node: NodeRow,
  operator: string,
  command: NonNullable<Command['command']>,
): Promise<CommandResult> {
  return (await askNode(ports, node, operator, command)).result;
}

/** Sends one command; the answer also as the node signed it, for whoever verifies it himself. Throws what the bus throws (NO_RESPONDER, REQUEST_TIMED_OUT …), COMMAND_ANSWER_INVALID, SIGNATURE_INVALID. */
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
  const answer = await ports.request(node.code, Signed.encode(ports.sign(payload)).finish(), COMMAND_TIMEOUT_MS);
  const { signed, result } = decode(answer, node.code);
  ports.verifier.verify('qiao.command.v1', signed, node.certificate);
  if (Buffer.compare(result.id, id) !== 0) throw invalid(node.code, 'answers another command');
  return { result, signed };
}

function decode(bytes: Uint8Array, code: string): { signed: Signed; result: CommandResult } {
  try {
    const signed = Signed.decode(bytes);
    return { signed, result: CommandResult.decode(signed.payload) };
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
