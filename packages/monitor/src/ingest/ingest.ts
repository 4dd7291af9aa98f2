// The monitor's ear: consumes the telemetry stream, hands each kind of message to its room, and acknowledges what is on disk.
// A message that no node of this platform can have written is dropped with a warning.

import type { Bus, BusMessage } from '@qiao/bus';
import { consumers, nodeOfSubject, streams } from '@qiao/bus';
import { QiaoError } from '@qiao/exchange';
import { crashPoint, describeError, type Part, type Wakeup } from '@qiao/runtime';
import type { EntriesPorts } from './bookEntry.ts';
import { type BooksPosition, takeEntries } from './entries.ts';
import { type PositionsPorts, positionsPart } from './positions.ts';

export interface IngestPorts extends PositionsPorts {
  readonly bus: Bus;
  readonly entries: EntriesPorts;
  /** Takes a heartbeat and answers how far that node says its books go. */
  takeHeartbeat(
    bytes: Uint8Array,
    nodeCode: string,
  ): Promise<{ nodeId: string; databaseId: string; number: number } | undefined>;
  /** How far the books of a node and exchange database are here. */
  positionOf(nodeId: string, databaseId: string): Promise<BooksPosition>;
  takeDirectory(bytes: Uint8Array): Promise<void>;
  /** Before the first message: another monitor may have listened until now. */
  begin?(): Promise<void>;
  /** Woken after every change of the books. */
  readonly changed: Wakeup;
}

const HUB_CODE = 'hub';
/** Pause before a store that is away is asked again. */
const STORE_AGAIN_MS = 500;

/** The parts that listen and answer. */
export function createIngestParts(ports: IngestPorts): Part[] {
  const positions = new Map<string, BooksPosition>();
  return [{ name: 'ingest', run: (signal) => listen(ports, positions, signal) }, positionsPart(ports, positions)];
}

async function listen(ports: IngestPorts, positions: Map<string, BooksPosition>, signal: AbortSignal): Promise<void> {
  positions.clear();
  await ports.begin?.();
  const messages = ports.bus.consume(streams.telemetry(), consumers.monitor, { signal, isOnlyReader: true });
  for await (const message of messages) {
    // In its turn until the store takes it: what came behind it would show a hole, and be asked for again.
    while (!(await take(ports, positions, message))) {
      await ports.clock.sleep(STORE_AGAIN_MS, signal);
      if (signal.aborted) return;
      message.working();
    }
    ports.changed.wake();
  }
}

/** False when the store is away: the same message may be taken later. */
async function take(ports: IngestPorts, positions: Map<string, BooksPosition>, message: BusMessage): Promise<boolean> {
  try {
    const nodeCode = nodeOfSubject(message.subject);
    const kind = message.subject.split('.')[4];
    switch (kind) {
      case 'books': {
        const position = await takeEntries(ports.entries, message.data, nodeCode);
        positions.set(position.nodeId, position);
        break;
      }
      case 'heartbeat':
        await compareBooks(ports, positions, await ports.takeHeartbeat(message.data, nodeCode));
        break;
      case 'directory':
        // The bus lets each node publish below its own name alone; the directory is the hub's.
        if (nodeCode !== HUB_CODE) {
          throw new QiaoError('DIRECTORY_FOREIGN', `a directory came on the subject of ${nodeCode}`);
        }
        await ports.takeDirectory(message.data);
        break;
      default:
        ports.log.warn({ kind }, 'telemetry of an unknown kind, dropped');
    }
    crashPoint('ingest.stored');
    message.ack();
    if (kind === 'books') crashPoint('ingest.acknowledged');
  } catch (error) {
    if (!(error instanceof QiaoError)) throw error;
    if (error.fate !== 'permanent') {
      ports.log.warn({ err: describeError(error) }, 'telemetry waits for the store');
      return false;
    }
    // Nothing is lost by dropping it: a node keeps its entries until it hears that they are held.
    ports.log.warn({ subject: message.subject, err: describeError(error) }, 'telemetry refused');
    message.ack();
  }
  return true;
}

/** Entries that a heartbeat names and that do not come within this are asked for: a lost monitor has told nobody where it stands. */
const BEHIND_AFTER_MS = 10_000;
const behind = new WeakMap<BooksPosition, number>();

/** A quiet node publishes nothing by itself: what its heartbeat says of its books is compared with what is here. */
async function compareBooks(
  ports: IngestPorts,
  positions: Map<string, BooksPosition>,
  books: { nodeId: string; databaseId: string; number: number } | undefined,
): Promise<void> {
  if (books === undefined) return;
  let known = positions.get(books.nodeId);
  if (known?.databaseId !== books.databaseId) {
    known = await ports.positionOf(books.nodeId, books.databaseId);
    positions.set(books.nodeId, known);
  }
  if (known.through === books.number) return;
  const sinceMs = behind.get(known) ?? ports.clock.nowMs();
  behind.set(known, sinceMs);
  // Fewer entries than are here: an older copy of the exchange database. It notices when it is told.
  const isOlder = books.number < known.through;
  if (isOlder || ports.clock.nowMs() - sinceMs < BEHIND_AFTER_MS) {
    if (isOlder) positions.set(books.nodeId, { ...known, repeats: true });
    return;
  }
  positions.set(books.nodeId, { ...known, hasHole: true });
}
