// Updates whose row the target does not have (missingBase) wait for the whole row: its key is told to the lane's sender, sealed for it,
// for keys are row contents and the hub reads what it forwards. Asked again now and then, until the rows came or were given up.

import { ControlMessage } from '@qiao/contract/control';
import { encodeContent, idText, parseId, type Section } from '@qiao/exchange';
import type { Clock, Log } from '@qiao/runtime';
import { labelledContext } from '@qiao/security';
import type { DesiredPeer } from '../control/desired.ts';
import {
  beforeEpoch,
  type ExchangeDatabase,
  type KeptRow,
  type LaneIn,
  type RowAt,
} from '../exchange-database/index.ts';

export interface AskRowsPorts {
  readonly database: Pick<ExchangeDatabase, 'rowDecisions' | 'controlOut'>;
  seal(
    content: Uint8Array,
    receiverPublicKey: Uint8Array,
    context: Uint8Array,
  ): Promise<{ body: Uint8Array; wrappedKey: Uint8Array }>;
  /** 16 random bytes. */
  newId(): Uint8Array;
  readonly clock: Clock;
  readonly log: Log;
  readonly onQueued: () => void;
}

export interface RowAsker {
  /**
   * Asks the sender for the whole rows that the lane lacks: for each at once, and again every ten minutes while it waits. Of more than a thousand
   * a thousand at a time, the next ones ten minutes later: some may wait for ever, because their source refuses them.
   */
  ask(state: LaneIn, sender: DesiredPeer): Promise<void>;
}

/** The part of a lane's rows that was asked for last. */
interface Asked {
  readonly epoch: bigint;
  /** When the first of them were. */
  readonly atMs: number;
  readonly after: RowAt;
  /** Undefined: behind it there were none. */
  readonly upTo: RowAt | undefined;
  readonly refs: ReadonlySet<string>;
}

const ROWS_MAX = 1_000;
const AGAIN_MS = 10 * 60_000;

export function createRowAsker({ database, seal, newId, clock, log, onQueued }: AskRowsPorts): RowAsker {
  const asked = new Map<string, Asked>();
  return {
    async ask(state, sender) {
      const lane = idText(state.lane);
      // Nobody to seal for: its rights were ended, or its keys wait for a person.
      if (sender.revoked || sender.unconfirmed !== undefined) return;
      const before = asked.get(lane);
      const elapsedMs = clock.elapsedMs();
      const isRecent = before !== undefined && before.epoch === state.epoch && elapsedMs - before.atMs < AGAIN_MS;
      const start = beforeEpoch(state.lane, state.epoch);
      const waitingAfter = (place: RowAt) => database.rowDecisions.undecided(['MISSING_BASE'], place, ROWS_MAX);
      let after = isRecent ? before.after : before?.epoch === state.epoch ? (before.upTo ?? start) : start;
      let waiting = waitingAfter(after);
      if (waiting.length === 0 && after !== start) waiting = waitingAfter((after = start));
      const upTo = waiting.length < ROWS_MAX ? undefined : waiting.at(-1);
      const rows = waiting.filter(({ ref, keyColumns }) => keyColumns > 0 && !(isRecent && before.refs.has(ref)));
      const [first] = rows;
      if (first === undefined) return;
      const atMs = isRecent ? before.atMs : elapsedMs;
      asked.set(lane, { epoch: state.epoch, atMs, after, upTo, refs: new Set(waiting.map(({ ref }) => ref)) });
      const requestId = newId();
      const context = rowsWantedContext(state.lane, state.epoch, requestId);
      const sealed = await seal(encodeContent(keySections(rows)), sender.sealingKey, context);
      const message = ControlMessage.fromPartial({
        toNodeId: parseId(sender.nodeId),
        body: {
          $case: 'rowsWanted',
          value: {
            laneId: state.lane,
            epoch: { ordinal: state.epoch, nonce: state.nonce },
            requestId,
            sealedKeys: sealed.body,
            wrappedKey: sealed.wrappedKey,
          },
        },
      });
      database.controlOut.add(ControlMessage.encode(message).finish(), clock.nowMs(), `rows:${lane}:${first.ref}`);
      log.info({ lane, rows: rows.length }, 'whole rows asked for');
      onQueued();
    },
  };
}

/** What the sealed keys of a request are bound to. */
export function rowsWantedContext(lane: Uint8Array, epoch: bigint, requestId: Uint8Array): Uint8Array {
  return labelledContext('qiao.rows.wanted.v1', [lane, Buffer.from(String(epoch)), requestId]);
}

function keySections(rows: readonly KeptRow[]): Section[] {
  return [
    ...Map.groupBy(rows, (row) => JSON.stringify([row.table, row.columns.slice(0, row.keyColumns)])).values(),
  ].map((part) => {
    const first = part[0] as KeptRow;
    const lines = [...new Set(part.map(({ keyText }) => `${keyText}\n`))];
    return {
      table: first.table,
      kind: 'delete',
      columns: first.columns.slice(0, first.keyColumns),
      keyColumns: first.keyColumns,
      rowCount: lines.length,
      rows: Buffer.from(lines.join('')),
      wholeRows: false,
    };
  });
}
