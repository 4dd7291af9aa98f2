// Owns asking the hub for its directory: whom it revoked is known here within a second even when the stream that brings the directory has
// no leader, or much to bring before it.

import { DirectoryReply, DirectoryRequest } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, readMessage } from '@qiao/exchange';
import { type Clock, describeError, type Log, type Part } from '@qiao/runtime';

export interface AskDirectoryPorts {
  /** Request and reply over the bus. */
  ask(request: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /** The newest directory that is known here. */
  known(): { readonly generation: bigint; readonly number: bigint } | undefined;
  /** Takes a signed directory. */
  take(signed: Uint8Array): Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

const ASK_EVERY_MS = 500;
const ASK_TIMEOUT_MS = 2_000;

/** Asks for as long as it runs. What passes, a hub that is away above all, is no failure: the stream brings the directory as well. */
export function askDirectoryPart(ports: AskDirectoryPorts): Part {
  return {
    name: 'directory',
    async run(signal) {
      while (!signal.aborted) {
        try {
          await askOnce(ports);
        } catch (error) {
          if (!(error instanceof QiaoError) || error.fate === 'permanent') throw error;
          ports.log.debug({ err: describeError(error) }, 'the hub was not asked for its directory');
        }
        await ports.clock.sleep(ASK_EVERY_MS, signal);
      }
    },
  };
}

async function askOnce({ ask, known, take }: AskDirectoryPorts): Promise<void> {
  const { generation, number } = known() ?? { generation: 0n, number: 0n };
  const answer = await ask(DirectoryRequest.encode({ generation, number }).finish(), ASK_TIMEOUT_MS);
  const { directory } = readMessage(DirectoryReply, answer, 'answer of the hub');
  if (directory !== undefined) await take(Signed.encode(directory).finish());
}
