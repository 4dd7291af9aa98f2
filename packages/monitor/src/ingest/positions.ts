// Tells every node how far its books are held here. A node keeps its entries until it hears this word, and publishes them again when
// it waits for it too long: what the bus did not take is said again at the next turn.

import { ControlMessage } from '@qiao/contract/control';
import { parseId, QiaoError } from '@qiao/exchange';
import type { Clock, Log, Part } from '@qiao/runtime';
import type { BooksPosition } from './entries.ts';

export interface PositionsPorts {
  /** Signs and publishes an encoded ControlMessage; resolves when the bus keeps it. Throws a passing QiaoError while the bus is away. */
  readonly tell: (message: Uint8Array) => Promise<unknown>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A node is told of its position at most this often. */
const TELL_EVERY_MS = 500;

/** A hole is asked for at most this often per node: what was asked for may be under way. */
const ASK_AGAIN_AFTER_MS = 5_000;

/** Tells each of the positions, by id of the node, when it is new, shows a hole, or was repeated. */
export function positionsPart(ports: PositionsPorts, positions: Map<string, BooksPosition>): Part {
  const { clock, log } = ports;

  /** False when the bus is away. */
  async function tell(position: BooksPosition, sendAgain: boolean): Promise<boolean> {
    try {
      await ports.tell(wordOf(position, sendAgain));
      return true;
    } catch (error) {
      if (!(error instanceof QiaoError) || error.fate === 'permanent') throw error;
      log.debug({ code: error.code }, 'position not told, it will be');
      return false;
    }
  }

  return {
    name: 'books-through',
    async run(signal) {
      const told = new Map<string, string>();
      const askedAtMs = new Map<string, number>();
      while (!signal.aborted) {
        await clock.sleep(TELL_EVERY_MS, signal);
        for (const position of positions.values()) {
          const { nodeId, databaseId, through, hasHole, repeats } = position;
          const nowMs = clock.nowMs();
          const asks = (hasHole || repeats) && nowMs - (askedAtMs.get(nodeId) ?? 0) >= ASK_AGAIN_AFTER_MS;
          const place = `${databaseId} ${through}`;
          if (told.get(nodeId) === place && !asks) continue;
          if (!(await tell(position, asks && hasHole))) break;
          told.set(nodeId, place);
          if (!asks) continue;
          askedAtMs.set(nodeId, nowMs);
          if (positions.get(nodeId) === position) positions.set(nodeId, { ...position, repeats: false });
        }
      }
    },
  };
}

function wordOf({ nodeId, databaseId, through, mark }: BooksPosition, sendAgain: boolean): Uint8Array {
  const value = {
    number: BigInt(through),
    sendAgain,
    mark: Buffer.from(mark, 'hex'),
    exchangeDatabaseId: parseId(databaseId),
  };
  return ControlMessage.encode(
    ControlMessage.fromPartial({ toNodeId: parseId(nodeId), body: { $case: 'booksThrough', value } }),
  ).finish();
}
