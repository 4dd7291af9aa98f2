// The monitor's ear: consumes the telemetry stream, hands each kind of message to its room, acknowledges what is on disk, and
// tells nodes how far their books are held. A message that no node of this platform can have written is dropped with a warning.

import type { Bus, BusMessage } from '@qiao/bus';
import { consumers, nodeOfSubject, streams, subjects } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { parseId, QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint, describeError, type Log, type Part, type Wakeup } from '@qiao/runtime';
import type { Signer } from '@qiao/security';
import type { EntriesPorts } from './bookEntry.ts';
import { type BooksPosition, takeEntries } from './entries.ts';

export interface IngestPorts {
  readonly bus: Bus;
  readonly platformCode: string;
  /** The monitor's own code, for its subjects. */
  readonly monitorCode: string;
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
  readonly signer: Signer;
  readonly clock: Clock;
  readonly log: Log;
  /** Woken after every change of the books. */
  readonly changed: Wakeup;
}

const HUB_CODE = 'hub';
/** A node is told of its position at most this often. */
const TELL_EVERY_MS = 500;

/** Pause before a store that is away is asked again. */
const STORE_AGAIN_MS = 500;

/** A hole is asked for at most this often per node: what was asked for may be under way. */
const ASK_AGAIN_AFTER_MS = 5_000;

/** The parts that listen and answer. */
export function createIngestParts(ports: IngestPorts): Part[] {
  const positions = new Map<string, BooksPosition>();
  return [
    { name: 'ingest', run: (signal) => listen(ports, positions, signal) },
    { name: 'books-through', run: (signal) => tell(ports, positions, signal) },
  ];
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

async function tell(ports: IngestPorts, positions: Map<string, BooksPosition>, signal: AbortSignal): Promise<void> {
  const told = new Map<string, string>();
  const askedAtMs = new Map<string, number>();
  while (!signal.aborted) {
    await ports.clock.sleep(TELL_EVERY_MS, signal);
    for (const position of positions.values()) {
      const { nodeId, databaseId, through, hasHole, repeats } = position;
      const nowMs = ports.clock.nowMs();
      const asks = (hasHole || repeats) && nowMs - (askedAtMs.get(nodeId) ?? 0) >= ASK_AGAIN_AFTER_MS;
      const place = `${databaseId} ${through}`;
      if (told.get(nodeId) === place && !asks) continue;
      await publishPosition(ports, position, asks && hasHole);
      told.set(nodeId, place);
      if (asks) askedAtMs.set(nodeId, nowMs);
    }
  }
}

async function publishPosition(ports: IngestPorts, position: BooksPosition, sendAgain: boolean): Promise<void> {
  const { nodeId, databaseId, through, mark } = position;
  const message = ControlMessage.encode(
    ControlMessage.fromPartial({
      toNodeId: parseId(nodeId),
      body: {
        $case: 'booksThrough',
        value: {
          number: BigInt(through),
          sendAgain,
          mark: Buffer.from(mark, 'hex'),
          exchangeDatabaseId: parseId(databaseId),
        },
      },
    }),
  ).finish();
  const signed = Signed.encode(ports.signer.sign('qiao.control.v1', message)).finish();
  try {
    await ports.bus.publish(subjects.up(ports.platformCode, ports.monitorCode, 'control'), signed);
  } catch (error) {
    if (!(error instanceof QiaoError) || error.fate === 'permanent') throw error;
    ports.log.debug({ code: error.code }, 'position not told, it will be');
  }
}
