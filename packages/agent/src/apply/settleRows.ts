// Carries out what was decided about rows that wait, one delivery at a time, through the real target: rows and the mark's counts move in
// one transaction there; then this node follows the mark, and the receipt gets a new revision. A crash between the two is mended from
// the mark (recover.ts), so that every order of events ends the same. Rows of one key go in the order in which they were sent.

import type { AmendResult, AmendWork, RowPlace, StoredAnswer } from '@qiao/adapters';
import { Receipt } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { idText, Matrix, parseId, QiaoError, type Section } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { ExchangeDatabase, KeptRow, LanePlace, RowAt } from '../exchange-database/index.ts';
import { type ApplyDeliveryPorts, type Landing, refuseForeignColumns } from './applyDelivery.ts';
import { needsNoBase } from './held.ts';
import { BY_AGENT, supersede } from './openRows.ts';

/** Rows of one delivery moved in one transaction of the target, and bytes of their text; one row whatever it has. */
const ROWS_AT_ONCE = 1_000;
const BYTES_AT_ONCE = 32 * 1024 * 1024;
/** Rows that wait for others, tried again after something landed. */
const WAITING_AT_ONCE = 1_000;
/** What another row may have settled: a parent that came, a unique value that was made free. */
const BY_OTHERS = ['FOREIGN_KEY', 'UNIQUE'] as const;

export type SettleStep =
  /** Nothing is decided on this lane that can be carried out now. */
  | { readonly kind: 'nothing' }
  /** `landed`: rows that are in the target now, which others may have waited for. */
  | { readonly kind: 'moved'; readonly landed: number };

/** Carries out the next delivery's decisions of a lane. Throws what the target throws; permanent failures are put to the rows. */
export async function settleNext(landing: Landing, ports: ApplyDeliveryPorts): Promise<SettleStep> {
  const { database } = ports;
  const lane = parseId(landing.lane.laneId);
  const state = database.lanesIn.get(lane);
  if (state === undefined) return { kind: 'nothing' };
  for (let after = { epoch: 0n, sequence: -1n }; ; ) {
    const place = database.rowDecisions.nextDecided(lane, after);
    if (place === undefined) return { kind: 'nothing' };
    after = place;
    // Rows of an attempt that is not in the target yet are not anybody's to move.
    if (place.epoch > state.epoch || (place.epoch === state.epoch && place.sequence > state.appliedSequence)) continue;
    // The target was restored, and the receipt given long ago is not kept: the delivery was asked for, and brings the revision.
    if (database.receiptsOut.get(place) === undefined) continue;
    const plan = planOf(place, database);
    if (plan.tried.length + plan.givenUp.length === 0) continue;
    return await carryOut(place, plan, landing, ports);
  }
}

export interface Retried {
  readonly rows: number;
  /** The last row of this part, with which the round goes on; undefined when it went through all that wait. */
  readonly upTo: RowAt | undefined;
}

/** Decides to try the next rows again, after a place, that wait for others. */
export function retryWaiting(
  after: RowAt,
  { database, clock }: Pick<ApplyDeliveryPorts, 'database' | 'clock'>,
): Retried {
  const rows = BY_OTHERS.some((code) => database.quarantine.hasCode(after.lane, code))
    ? database.rowDecisions.undecided(BY_OTHERS, after, WAITING_AT_ONCE)
    : [];
  const decision = {
    decision: 'replay',
    by: BY_AGENT,
    reason: 'what it waits for may have come, or gone',
    atMs: clock.nowMs(),
  } as const;
  database.transaction(() => {
    for (const row of rows) database.rowDecisions.decide(row, decision);
  });
  return { rows: rows.length, upTo: rows.length < WAITING_AT_ONCE ? undefined : rows.at(-1) };
}

/**
 * Brings this node in line with what the mark says of a delivery: rows, receipt, and what waited behind the rows that are settled. Call it
 * inside a transaction. Counts rows that the mark has open and this node does not know.
 */
export function followMark(
  place: LanePlace,
  answer: StoredAnswer,
  { database, answers, clock }: Pick<ApplyDeliveryPorts, 'database' | 'answers' | 'clock'>,
): { settled: readonly KeptRow[]; unknown: number } {
  const followed = database.quarantine.follow(place, answer.open, clock.nowMs());
  answers.revise(place, answer);
  release(followed.settled, { database, clock });
  return followed;
}

interface Plan {
  readonly tried: readonly KeptRow[];
  readonly givenUp: readonly KeptRow[];
}

function planOf(place: LanePlace, database: Pick<ExchangeDatabase, 'quarantine' | 'rowDecisions' | 'rowLines'>): Plan {
  const decided = database.quarantine
    .ofDelivery(place)
    .filter((row) => row.state === 'open' && row.decision !== undefined);
  const givenUp = decided.filter((row) => row.decision !== 'replay').slice(0, ROWS_AT_ONCE);
  const tried: KeptRow[] = [];
  let bytes = 0;
  for (const row of decided) {
    if (row.decision !== 'replay') continue;
    const first = database.rowDecisions.firstOfKey(row.lane, row.table, row.keyText);
    const blocker = first?.ref === row.ref ? undefined : first;
    if (blocker === undefined || (blocker.code === 'MISSING_BASE' && needsNoBase(row))) {
      bytes += database.rowLines.newestBytes(row);
      // What has no room goes in the next step, and so does what comes after it: parents stay before their children.
      if (tried.length + givenUp.length >= ROWS_AT_ONCE || (tried.length > 0 && bytes > BYTES_AT_ONCE)) break;
      tried.push(row);
    }
    // It goes by itself when the row before it is settled; until then its turn has not come.
    else if (blocker.decision === undefined) database.quarantine.undecide(row);
  }
  return { tried, givenUp };
}

async function carryOut(
  place: LanePlace,
  plan: Plan,
  landing: Landing,
  ports: ApplyDeliveryPorts,
): Promise<SettleStep> {
  const { database, log } = ports;
  const { sections, places } = sectionsOf(plan.tried, database);
  let work: AmendWork;
  try {
    refuseForeignColumns(sections, landing, ports);
    work = await amendWork(place, plan, { sections, places }, landing, ports);
  } catch (error) {
    return putToRows(plan, error, ports);
  }
  crashPoint('rows.decided');
  let result: AmendResult;
  try {
    result = await landing.target.amend(work);
  } catch (error) {
    return putToRows(plan, error, ports);
  }
  crashPoint('amend.committed');
  if (result.kind === 'unknown') {
    log.warn(
      { lane: landing.lane.laneId, sequence: String(place.sequence), why: result.why },
      'rows are not in the mark as remembered',
    );
    return await followUnknown(place, plan, landing, ports);
  }
  const landed = database.transaction(() => {
    const open = new Set(result.answer.open.map(({ section, index }) => `${section}/${index}`));
    const isOpen = ({ section, index }: KeptRow) => open.has(`${section}/${index}`);
    for (const row of [...plan.tried, ...plan.givenUp].filter((each) => !isOpen(each))) asCarriedOut(row, database);
    const { settled } = followMark(place, result.answer, ports);
    for (const row of plan.tried.filter(isOpen)) database.quarantine.undecide(row);
    return settled.filter((row) => row.decision === 'replay').length;
  });
  crashPoint('receipt.revised');
  return { kind: 'moved', landed };
}

/** What a person decided while the target was at it came too late: the row is settled by what was done. */
function asCarriedOut(row: KeptRow, { rowDecisions }: Pick<ExchangeDatabase, 'rowDecisions'>): void {
  const { decision, decidedBy: by, decidedAtMs: atMs, decisionReason: reason } = row;
  if (decision !== undefined) rowDecisions.decide(row, { decision, by, atMs, reason });
}

/** What waited behind the rows that are settled goes next, and what lacked its base is over when a whole row landed. */
function release(
  settled: readonly KeptRow[],
  { database, clock }: Pick<ApplyDeliveryPorts, 'database' | 'clock'>,
): void {
  const atMs = clock.nowMs();
  for (const row of settled) {
    if (row.decision === 'replay' && needsNoBase(row)) supersede(row, [row], atMs, database);
    const next = database.rowDecisions.firstOfKey(row.lane, row.table, row.keyText);
    if (next === undefined || next.code !== 'HELD' || next.decision !== undefined) continue;
    database.rowDecisions.decide(next, {
      decision: 'replay',
      by: BY_AGENT,
      reason: 'the row before it is settled',
      atMs,
    });
  }
}

/** The mark does not know the delivery, or one of the rows, as waiting: what it does know is followed. */
async function followUnknown(
  place: LanePlace,
  plan: Plan,
  landing: Landing,
  ports: ApplyDeliveryPorts,
): Promise<SettleStep> {
  const { database } = ports;
  const points = await landing.target.points(landing.lane.laneId);
  const point = points.find(({ epoch, sequence }) => epoch === place.epoch && sequence === place.sequence);
  const known = database.receiptsOut.get(place);
  database.transaction(() => {
    if (point !== undefined) {
      followMark(place, point.answer, ports);
      for (const row of plan.tried) database.quarantine.undecide(row);
      return;
    }
    // The mark of a closed epoch is gone: nothing of it can be tried any more.
    const rows = database.quarantine.ofDelivery(place).filter(({ state }) => state === 'open');
    for (const row of rows) {
      if (row.decision === 'abandon') continue;
      database.rowDecisions.decide(row, {
        decision: 'cancel',
        by: BY_AGENT,
        reason: 'its epoch was closed',
        atMs: ports.clock.nowMs(),
      });
    }
    if (known === undefined) database.quarantine.follow(place, [], ports.clock.nowMs());
    else followMark(place, withoutOpenRows(Receipt.decode(Signed.decode(known.receipt).payload), rows), ports);
  });
  return { kind: 'moved', landed: 0 };
}

/** The last answer with every open row given up. */
function withoutOpenRows(receipt: Receipt, rows: readonly KeptRow[]): StoredAnswer {
  const matrix = Matrix.ofContract(receipt.outcomes);
  for (const { table, kind, outcome, decision } of rows) {
    matrix.add(table, kind, outcome, -1);
    matrix.add(table, kind, decision === 'abandon' ? 'abandoned' : 'cancelled', 1);
  }
  const extras = receipt.extras.map(({ table, deleted, kept }) => ({
    table,
    deleted: Number(deleted),
    kept: Number(kept),
  }));
  return { outcomes: matrix.cells(), extras, revision: receipt.revision + 1, open: [] };
}

/** A failure that no waiting mends is told at the rows; the others are tried again, for they are nobody's fault here. */
function putToRows(plan: Plan, error: unknown, { database }: ApplyDeliveryPorts): SettleStep {
  if (!(error instanceof QiaoError) || error.fate !== 'permanent') throw error;
  database.transaction(() => {
    for (const row of plan.tried) {
      database.quarantine.undecide(row);
      database.quarantine.explain(row, error.code, `tried again in vain: ${error.message}`);
    }
    // Without rows to try it is the giving up itself that fails: the lane shows it.
    if (plan.tried.length === 0) throw error;
  });
  return { kind: 'moved', landed: 0 };
}

async function amendWork(
  { lane, epoch, sequence }: LanePlace,
  { givenUp }: Plan,
  { sections, places }: { sections: readonly Section[]; places: readonly (readonly RowPlace[])[] },
  { bridge, lane: desired, sender, source, tables }: Landing,
  { database, clock }: ApplyDeliveryPorts,
): Promise<AmendWork> {
  if (desired.destination === undefined && sections.length > 0) {
    throw new QiaoError('DESTINATION_UNBOUND', 'the bridge’s present version does not name this destination any more', {
      hint: `qiao bridge show ${bridge.name}; rows that nobody wants: qiao quarantine abandon --bridge ${bridge.name}`,
    });
  }
  return {
    laneId: idText(lane),
    epoch,
    sequence,
    tables:
      desired.destination === undefined || sections.length === 0
        ? new Map<string, never>()
        : await tables.of(bridge.definition, desired.destination, sections, source),
    sections,
    placeOf: (section, index) => places[section]?.[index] ?? { section: -1, index: -1 },
    givenUp: givenUp.map(({ section, index, decision }) => ({ section, index, outcome: outcomeOf(decision) })),
    revisionAbove: database.receiptsOut.get({ lane, epoch, sequence })?.revision ?? 0,
    mostIsolated: ROWS_AT_ONCE,
    batchNo: `${bridge.name}-${epoch}-${sequence}`,
    sourceDepartment: sender?.departmentTitle ?? '',
    appliedAtMs: clock.nowMs(),
    beforeCommit: () => undefined,
  };
}

function outcomeOf(decision: KeptRow['decision']): 'abandoned' | 'cancelled' | 'keptTarget' {
  if (decision === 'abandon') return 'abandoned';
  return decision === 'supersede' ? 'keptTarget' : 'cancelled';
}

/** Rows as sections in the order they were sent, as edited where they were. */
function sectionsOf(
  rows: readonly KeptRow[],
  { rowLines }: Pick<ExchangeDatabase, 'rowLines'>,
): { sections: Section[]; places: RowPlace[][] } {
  const sections: Section[] = [];
  const places: RowPlace[][] = [];
  for (const part of Map.groupBy(rows, (row) => row.section).values()) {
    const [first] = part;
    if (first === undefined) continue;
    const { table, kind, columns, keyColumns, wholeRows } = first;
    const lines = part.map((row) => rowLines.newest(row));
    sections.push({ table, kind, columns, keyColumns, wholeRows, rowCount: part.length, rows: Buffer.concat(lines) });
    places.push(part.map(({ section, index }) => ({ section, index })));
  }
  return { sections, places };
}
