// What must hold after every run, whatever happened in it: the target is the source, every delivery has its one answer, nothing was
// applied twice, the counters say what the rows say, and nothing is left that would grow.

import { BookEntry } from '@qiao/contract/control';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { idText, Matrix, parseId, sameBytes, verdictOfDelivery } from '@qiao/exchange';
import type { Statement as Prepared } from 'better-sqlite3';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import type { SimulatedReceiver } from './receiver.testing.ts';
import type { SimulatedSender } from './sender.testing.ts';
import { REFUSED } from './target.testing.ts';

export class InvariantBroken extends Error {}

export interface Ends {
  readonly sender: SimulatedSender;
  readonly receivers: readonly SimulatedReceiver[];
  readonly nowMs: number;
  /** An old copy of the sender may have given out a place again: the books keep both words, for a person. */
  readonly mayHoldForks: boolean;
}

/** Throws InvariantBroken naming the first promise that does not hold; returns how many deliveries the sender's books name. */
export function checkInvariants(ends: Ends): number {
  for (const receiver of ends.receivers) {
    tablesAreEqual(ends.sender, receiver);
    nothingTwice(receiver);
    marksStayFew(receiver);
  }
  countersAreTrue(ends.sender);
  return everyDeliveryIsAnswered(ends);
}

function tablesAreEqual({ source }: SimulatedSender, { target, database, laneId }: SimulatedReceiver): void {
  // A row that the target refuses is open, and what came for its key since waits behind it.
  const open = new Set(database.quarantine.openOfLane(parseId(laneId), 1_000).map(({ keyText }) => keyText));
  const keys = new Set([...source.keys(), ...target.rows.keys()]);
  for (const key of keys) {
    if (open.has(key) || source.get(key)?.startsWith(REFUSED) === true) continue;
    const [sent, found] = [source.get(key), target.rows.get(key)];
    if (sent !== found) throw new InvariantBroken(`key ${key}: the source has ${sent}, the target has ${found}`);
  }
}

function nothingTwice({ target }: SimulatedReceiver): void {
  const seen = new Set<string>();
  for (const commit of target.diary) {
    if (seen.has(commit)) throw new InvariantBroken(`${commit} was applied twice`);
    seen.add(commit);
  }
}

function marksStayFew({ target, database, laneId }: SimulatedReceiver): void {
  const open = database.quarantine.countOpen(parseId(laneId));
  const most = open === 0 ? 8 : 200;
  if (target.marks > most) throw new InvariantBroken(`the mark keeps ${target.marks} rows with ${open} open rows`);
}

/** The lane's counters against the deliveries they count. */
function countersAreTrue({ database }: SimulatedSender): void {
  for (const lane of database.lanesOut.all()) {
    const found = questionsTo(database).counters.get(lane.lane);
    const said = { waiting: lane.waitingCount, onBus: lane.onBusCount, waitingBytes: lane.waitingBytes };
    if (JSON.stringify(found) !== JSON.stringify(said)) {
      throw new InvariantBroken(`counters say ${JSON.stringify(said)}, deliveries ${JSON.stringify(found)}`);
    }
  }
}

/** Each statement of the sender's books has a receipt that adds up, or a settlement, and no verdict is a deviation. */
function everyDeliveryIsAnswered({ sender, receivers, nowMs, mayHoldForks }: Ends): number {
  const statements: Statement[] = [];
  const receipts = new Map<string, Receipt>();
  const settlements: Settlement[] = [];
  for (const node of [sender, ...receivers]) {
    for (const { entry } of node.database.books.after(0n, 100_000)) {
      const body = BookEntry.decode(entry).entry;
      if (body?.$case === 'statement') statements.push(Statement.decode(body.value.payload));
      if (body?.$case === 'settlement') settlements.push(Settlement.decode(body.value.payload));
      if (body?.$case === 'receipt') keepNewest(receipts, Receipt.decode(body.value.payload));
    }
    // The sender's copy: what a receiver that lost its books said before.
    for (const { receipt } of questionsTo(node.database).receipts.all()) {
      keepNewest(receipts, Receipt.decode(Signed.decode(receipt).payload));
    }
  }
  for (const statement of statements) {
    const receipt = receipts.get(placeOf(statement));
    const settlement = settlements.find(
      (one) =>
        sameEpoch(one, statement) && one.firstSequence <= statement.sequence && statement.sequence <= one.lastSequence,
    );
    // The sender closed its own word, whose rows went with a later epoch; the receipt answers the word of before.
    const isFork =
      settlement !== undefined && receipt !== undefined && !sameBytes(receipt.contentHash, statement.contentHash);
    if (isFork && mayHoldForks) continue;
    const { verdict, reason } = verdictOfDelivery({
      counts: statement.counts.map(({ table, inserts, updates, deletes }) => ({
        table,
        inserts: Number(inserts),
        updates: Number(updates),
        deletes: Number(deletes),
      })),
      contentHash: statement.contentHash,
      sealedAtMs: Number(statement.sealedAtMs),
      receipt: receipt && {
        contentHash: receipt.contentHash,
        outcomes: Matrix.ofContract(receipt.outcomes).cells(),
      },
      settlement: settlement && { code: settlement.code },
      nowMs: nowMs + 10_000_000,
      lateAfterMs: 300_000,
    });
    if (verdict === 'deviation' || verdict === 'inFlight') {
      throw new InvariantBroken(`delivery ${placeOf(statement)} is ${verdict}: ${reason}`);
    }
  }
  return statements.length;
}

/** What the invariants ask the tables themselves. */
interface Questions {
  readonly counters: Prepared<[Uint8Array], { waiting: number; onBus: number; waitingBytes: number }>;
  readonly receipts: Prepared<[], { receipt: Uint8Array }>;
}

const questions = new WeakMap<ExchangeDatabase, Questions>();

function questionsTo(database: ExchangeDatabase): Questions {
  let known = questions.get(database);
  if (known === undefined) {
    known = {
      counters: database.sqlite.prepare(`SELECT coalesce(sum(answer = 'awaited'), 0) AS waiting,
 coalesce(sum((answer = 'awaited' OR asked = 1) AND bus = 'onBus'), 0) AS onBus,
 coalesce(sum(iif(answer = 'awaited', stored_bytes, 0)), 0) AS waitingBytes FROM delivery_out WHERE lane = ?`),
      receipts: database.sqlite.prepare('SELECT receipt FROM receipt_in'),
    };
    questions.set(database, known);
  }
  return known;
}

type Place = Pick<Statement, 'laneId' | 'epoch' | 'sequence'>;

function placeOf({ laneId, epoch, sequence }: Place): string {
  return `${idText(laneId)}/${epoch?.ordinal}/${idText(epoch?.nonce ?? new Uint8Array(16))}/${sequence}`;
}

function sameEpoch(a: Pick<Place, 'laneId' | 'epoch'>, b: Pick<Place, 'laneId' | 'epoch'>): boolean {
  return (
    sameBytes(a.laneId, b.laneId) &&
    a.epoch?.ordinal === b.epoch?.ordinal &&
    sameBytes(a.epoch?.nonce ?? new Uint8Array(0), b.epoch?.nonce ?? new Uint8Array(0))
  );
}

function keepNewest(receipts: Map<string, Receipt>, receipt: Receipt): void {
  const before = receipts.get(placeOf(receipt));
  if (before === undefined || before.revision < receipt.revision) receipts.set(placeOf(receipt), receipt);
}
