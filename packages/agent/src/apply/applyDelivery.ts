// One delivery into its target and its answer: rows whose key has an open row are held, the rest is applied in one transaction of
// the target together with the mark, refused rows are in quarantine before that commits, and the receipt follows from what the
// mark says. A crash after the commit is answered from the mark. Rows that wait are openRows.ts's, settling them settleRows.ts's.

import type { ApplyResult, ApplyWork, DataSource, RowPlace, StoredAnswer, Target } from '@qiao/adapters';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { chainOf, idText, QiaoError, type Section } from '@qiao/exchange';
import { type Clock, crashPoint, type Log } from '@qiao/runtime';
import type { DesiredBridge, DesiredLane, DesiredPeer } from '../control/desired.ts';
import { type Permissions, refusedColumns } from '../control/permissions.ts';
import type { ExchangeDatabase, InboxDelivery, LanePlace } from '../exchange-database/index.ts';
import { type Answers, placeOf } from '../receive/answer.ts';
import type { Arrivals } from './arrivals.ts';
import { type HeldSplit, splitHeld } from './held.ts';
import {
  cancelEarlierEpochs,
  heldRows,
  heldWork,
  keepOpenRows,
  refusedRow,
  rowsOfMark,
  supersede,
} from './openRows.ts';
import type { TargetTables } from './targetTables.ts';

export interface ApplyDeliveryPorts {
  readonly database: Pick<
    ExchangeDatabase,
    'quarantine' | 'rowDecisions' | 'rowLines' | 'receiptsOut' | 'transaction' | 'inbox' | 'lanesIn'
  >;
  readonly answers: Answers;
  readonly permissions: Permissions;
  readonly clock: Clock;
  readonly log: Log;
}

/** A delivery whose body was opened and checked. */
export interface OpenedDelivery {
  readonly delivery: InboxDelivery;
  readonly header: DeliveryHeader;
  readonly sections: readonly Section[];
}

export interface Landing {
  readonly target: Target;
  readonly targetId: string;
  readonly source: DataSource;
  readonly bridge: DesiredBridge;
  readonly lane: DesiredLane;
  readonly sender: DesiredPeer | undefined;
  readonly tables: TargetTables;
  /** Where rows have a way back to their sender. */
  readonly arrivals: Arrivals | undefined;
}

export type Applied =
  | { readonly kind: 'answered' }
  /** It was settled before, and its sender does not remember: it stands behind its own past. */
  | { readonly kind: 'settledBefore' }
  /** The mark stands elsewhere than remembered: look at it again. */
  | { readonly kind: 'lookAgain'; readonly why: string }
  | { readonly kind: 'fork'; readonly why: string }
  | { readonly kind: 'guard'; readonly table: string; readonly rows: number; readonly of: number };

/** What the target said to a delivery; the answer to it is not on disk yet. */
interface LandedDelivery {
  readonly result: ApplyResult;
  readonly opened: OpenedDelivery;
  readonly landing: Landing;
  readonly split: HeldSplit;
  readonly work: ApplyWork;
}

/**
 * Applies one delivery. Throws QiaoError: transient for what will pass, permanent for what stops the lane (TARGET_SCHEMA,
 * TARGET_RIGHTS, ACCEPT_DENIED, QUARANTINE_LIMIT, VERSION_REFUSED, KEY_UNKNOWN, …). After a throw nothing has changed.
 */
export async function applyDelivery(
  opened: OpenedDelivery,
  landing: Landing,
  ports: ApplyDeliveryPorts,
): Promise<Applied> {
  return await answerDelivery(await landDelivery(opened, landing, ports), ports);
}

async function landDelivery(
  opened: OpenedDelivery,
  landing: Landing,
  ports: ApplyDeliveryPorts,
): Promise<LandedDelivery> {
  const { header } = opened;
  const place = placeOf(header);
  refuseForeignColumns(opened.sections, landing, ports);
  const { database } = ports;
  const split = splitHeld(opened.sections, database.quarantine.openKeys(place));
  // Empty sections say nothing to a target; what is left keeps its place as sent for mark and quarantine.
  const kept = split.sections.flatMap((section, index) => (section.rowCount === 0 ? [] : [{ section, index }]));
  const sentPlace = (section: number, index: number): RowPlace => {
    const sent = kept[section]?.index ?? section;
    return { section: sent, index: split.sentIndexes.get(sent)?.[index] ?? index };
  };
  const mostOpen = landing.bridge.definition.stopAfterQuarantined;
  const appliedAtMs = ports.clock.nowMs();
  const work = await workOf(opened, landing, ports, {
    sections: kept.map(({ section }) => section),
    held: heldWork(split, opened.sections),
    placeOf: sentPlace,
    mostIsolated: mostOpen,
    appliedAtMs,
    beforeCommit: (quarantined) => {
      const refused = quarantined.map((row) => refusedRow(row, sentPlace(row.section, row.index), opened.sections));
      const rows = [...heldRows(split, opened.sections), ...refused];
      keepOpenRows(place, rows, mostOpen, appliedAtMs, database);
      crashPoint('quarantine.kept');
    },
  });
  const hasLeftovers = database.quarantine.ofDelivery(place).some(({ state }) => state === 'open');
  // Without isolated rows the target does not call back: held rows, and the leftovers of an attempt that failed, are settled
  // here. Should the target not commit, the next attempt replaces them again.
  const state = database.lanesIn.get(place.lane);
  const isKnown = place.epoch === state?.epoch && place.sequence <= state.appliedSequence;
  if (!isKnown && (split.held.length > 0 || hasLeftovers)) {
    keepOpenRows(place, heldRows(split, opened.sections), mostOpen, appliedAtMs, database);
    crashPoint('quarantine.held');
  }
  if (!isKnown && landing.arrivals !== undefined) {
    landing.arrivals.note(opened.sections);
    crashPoint('arrivals.noted');
  }
  const result = await landing.target.apply(work);
  crashPoint('apply.committed');
  if (header.role?.$case === 'opening') crashPoint('epoch.applied');
  if (header.role?.$case === 'void') crashPoint('void.applied');
  return { result, opened, landing, split, work };
}

/** The books, the inbox and the receipt follow what the target said. A crash before is answered from the mark. */
async function answerDelivery(landed: LandedDelivery, ports: ApplyDeliveryPorts): Promise<Applied> {
  const { result, opened, landing, work } = landed;
  const { header, delivery } = opened;
  const place = placeOf(header);
  switch (result.kind) {
    case 'applied':
      ports.database.transaction(() => {
        if (work.opensEpoch) {
          forgetUnappliedRows(place.lane, ports);
          const dropped = ports.database.inbox.removeBefore({ ...place, sequence: 0n });
          ports.database.lanesIn.setTargetId(place.lane, landing.targetId);
          if (dropped > 0)
            ports.log.warn({ lane: idText(place.lane), dropped }, 'deliveries of a closed epoch dropped');
        }
        afterApplied(landed, result.answer, ports);
        oweWhatWasThere(place, ports);
        ports.answers.give({
          header,
          answer: result.answer,
          receivedAtMs: delivery.receivedAtMs,
          appliedAtMs: work.appliedAtMs,
          point: { epoch: place.epoch, nonce: place.nonce, sequence: place.sequence, chain: work.chain },
        });
      });
      crashPoint('receipt.made');
      return { kind: 'answered' };
    case 'alreadyApplied':
      return await answerFromMark(result.answer, landed, ports);
    case 'gap':
      return { kind: 'lookAgain', why: `the target expects sequence ${result.expected}` };
    case 'fork':
      return { kind: 'fork', why: result.why };
    case 'guard':
      return { kind: 'guard', table: result.table, rows: result.rows, of: result.of };
    default:
      return result satisfies never;
  }
}

/** What is decided by the delivery itself once it is in the target: written beside its receipt. */
function afterApplied(
  { opened, split, work, landing }: LandedDelivery,
  answer: StoredAnswer,
  { database }: ApplyDeliveryPorts,
): void {
  const place = placeOf(opened.header);
  landing.arrivals?.landed(opened.sections, answer);
  followLoad(place, work, database);
  if (work.opensEpoch) cancelEarlierEpochs(place.lane, place.epoch, work.appliedAtMs, database);
  const open = new Set(answer.open.map(({ section, index }) => `${section}/${index}`));
  const landed = split.superseding.filter(({ section, index }) => !open.has(`${section}/${index}`));
  supersede(place, landed, work.appliedAtMs, database);
}

/** An epoch begins with a load; a void may have taken its end away. What comes again behind where the lane stands says nothing of it. */
function followLoad(
  { lane, epoch, sequence }: LanePlace,
  work: ApplyWork,
  { lanesIn }: Pick<ExchangeDatabase, 'lanesIn'>,
): void {
  const state = lanesIn.get(lane);
  if (state !== undefined && (epoch < state.epoch || (epoch === state.epoch && sequence < state.appliedSequence)))
    return;
  if (work.opensEpoch || work.load.begins) lanesIn.setLoading(lane, true);
  if (work.load.ends || work.load.isBroken) lanesIn.setLoading(lane, false);
}

/** The target committed this before: the stored receipt goes out again, or one is made from what the mark kept. */
async function answerFromMark(
  marked: StoredAnswer,
  landed: LandedDelivery,
  ports: ApplyDeliveryPorts,
): Promise<Applied> {
  const { opened, work, landing } = landed;
  const { header, delivery } = opened;
  const { database, answers } = ports;
  const place = placeOf(header);
  const held = header.receipts?.revision ?? 0;
  if (marked.revision === 0 && header.role?.$case !== 'opening') {
    // Purged from the mark because its sender held the settled receipt: what does not lie here any more nobody can say again.
    const isGiven = answers.giveAgain(place, header.contentHash, header.senderId);
    database.inbox.remove(place);
    return { kind: isGiven || held > 0 ? 'answered' : 'settledBefore' };
  }
  // The target was restored from a backup, and the sender holds a later word than the mark remembers.
  const isBehind = marked.revision > 0 && marked.revision < held;
  const answer = isBehind ? await lifted(held, landed, landing, ports, marked) : marked;
  database.transaction(() => {
    const known = database.quarantine.ofDelivery(place);
    if (known.length === 0 && answer.open.length > 0) {
      database.quarantine.replace(place, rowsOfMark(answer.open, opened.sections), work.appliedAtMs);
    } else database.quarantine.follow(place, answer.open, work.appliedAtMs);
    afterApplied(landed, answer, ports);
    const stored = database.receiptsOut.get(place);
    if (stored !== undefined && stored.revision >= answer.revision) {
      answers.giveAgain(place, header.contentHash, header.senderId);
      database.inbox.remove(place);
      return;
    }
    answers.give({
      header,
      // A purged opening has no revision in the mark.
      answer: { ...answer, revision: Math.max(answer.revision, 1) },
      receivedAtMs: delivery.receivedAtMs,
      appliedAtMs: work.appliedAtMs,
      point: undefined,
    });
  });
  return { kind: 'answered' };
}

/** The stored answer under a revision above the one that the sender holds. */
async function lifted(
  revisionAbove: number,
  { work }: LandedDelivery,
  { target }: Landing,
  ports: ApplyDeliveryPorts,
  marked: StoredAnswer,
): Promise<StoredAnswer> {
  const { laneId, epoch, sequence, tables, batchNo, sourceDepartment, appliedAtMs } = work;
  const place = { laneId, epoch, sequence, tables, batchNo, sourceDepartment, appliedAtMs };
  const nothing = { sections: [], givenUp: [], placeOf: (section: number, index: number) => ({ section, index }) };
  const result = await target.amend({ ...place, ...nothing, revisionAbove, beforeCommit: () => undefined });
  ports.log.warn({ lane: laneId, sequence: String(sequence), revisionAbove }, 'revision lifted above the sender’s');
  crashPoint('mark.lifted');
  return result.kind === 'amended' ? result.answer : marked;
}

async function workOf(
  { header }: OpenedDelivery,
  landing: Landing,
  ports: ApplyDeliveryPorts,
  parts: Pick<ApplyWork, 'sections' | 'held' | 'placeOf' | 'mostIsolated' | 'appliedAtMs' | 'beforeCommit'>,
): Promise<ApplyWork> {
  const { bridge, lane, sender, source, tables } = landing;
  const place = placeOf(header);
  const rows = header.role?.$case === 'rows' ? header.role.value : undefined;
  if (lane.destination === undefined) {
    throw new QiaoError('DESTINATION_UNBOUND', 'the bridge’s present version does not name this destination any more', {
      hint: `qiao bridge show ${bridge.name}`,
    });
  }
  const allowed = rows === undefined ? 0n : rows.allowedDeletes;
  const hasRows = rows !== undefined;
  return {
    laneId: idText(header.laneId),
    epoch: place.epoch,
    nonce: place.nonce,
    sequence: place.sequence,
    previousChain: header.previousChain,
    chain: chainOf({
      previousChain: header.previousChain,
      laneId: header.laneId,
      epoch: { ordinal: place.epoch, nonce: place.nonce },
      sequence: place.sequence,
      contentHash: header.contentHash,
      counts: header.counts,
    }),
    contentHash: header.contentHash,
    settledThrough: header.settledThrough,
    settled: header.receipts?.settled ?? [],
    revisionAbove: Math.max(header.receipts?.revision ?? 0, ports.database.receiptsOut.get(place)?.revision ?? 0),
    tables: hasRows
      ? await tables.of(
          bridge.definition,
          lane.destination,
          [...parts.sections, ...(parts.held?.sections ?? [])],
          source,
        )
      : new Map<string, never>(),
    ...parts,
    opensEpoch: header.role?.$case === 'opening',
    load: {
      begins: rows?.loadBegins ?? false,
      ends: rows?.loadEnds ?? false,
      // A person may have allowed the deletes after the delivery was signed.
      allowedDeletes: Number(allowed > bridge.allowedDeletes ? allowed : bridge.allowedDeletes),
      incomplete: rows?.incompleteTables ?? [],
      isBroken: header.role?.$case === 'void',
    },
    batchNo: `${bridge.name}-${place.epoch}-${place.sequence}`,
    sourceDepartment: sender?.departmentTitle ?? '',
    deleteGuard: bridge.definition.deleteGuard,
  };
}

/** The definition may leave columns to the source, so the node's own fence is asked again with the columns that really came. */
export function refuseForeignColumns(
  sections: readonly Section[],
  { lane, bridge }: Pick<Landing, 'lane' | 'bridge'>,
  ports: Pick<ApplyDeliveryPorts, 'permissions'>,
): void {
  if (lane.destination === undefined) return;
  for (const { table, columns } of sections) {
    if (lane.destination.tables[table] === undefined) continue;
    const refused = refusedColumns(lane.destination, table, columns, ports.permissions);
    if (refused.length === 0) continue;
    throw new QiaoError(
      'ACCEPT_DENIED',
      `column(s) ${refused.join(', ')} of table ${table} are not named in this node’s accepts`,
      { hint: `add them to accepts in agent.yaml, or leave them out of bridge ${bridge.name}` },
    );
  }
}

/**
 * A target that takes a place which it had before was restored from a backup, and nobody has looked at its mark since: what it had
 * after this place is owed, before the mark's new place makes it forgotten.
 */
function oweWhatWasThere({ lane, epoch, sequence }: LanePlace, { database, log }: ApplyDeliveryPorts): void {
  const state = database.lanesIn.get(lane);
  if (state === undefined || state.epoch !== epoch || sequence > state.appliedSequence) return;
  database.lanesIn.owe(lane, { epoch, nonce: state.nonce, sequence: state.appliedSequence });
  log.warn(
    { lane: idText(lane), remembered: String(state.appliedSequence), taken: String(sequence) },
    'the target took a place that it had before: it was restored',
  );
}

/** Rows kept for a delivery that then was not applied belong to nothing once its epoch is closed. */
function forgetUnappliedRows(lane: Uint8Array, ports: ApplyDeliveryPorts): void {
  const state = ports.database.lanesIn.get(lane);
  if (state === undefined) return;
  for (const row of ports.database.rowDecisions.ofEarlierEpochs(lane, state.epoch + 1n)) {
    if (row.epoch === state.epoch && row.sequence > state.appliedSequence) {
      ports.database.quarantine.replace(row, [], 0);
    }
  }
}
