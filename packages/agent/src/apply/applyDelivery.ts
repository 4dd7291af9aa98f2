// One delivery into its target and its answer: rows with a later change of an open key are held, the rest is applied in one
// transaction of the target together with the mark, refused rows are in quarantine before that commits, and the receipt
// follows from what the mark says. A crash after the commit is answered from the mark.

import type { ApplyResult, ApplyWork, DataSource, QuarantinedRow, Target } from '@qiao/adapters';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { chainOf, idText, type OutcomeCell, QiaoError, type Section } from '@qiao/exchange';
import { type Clock, crashPoint, type Log } from '@qiao/runtime';
import type { DesiredBridge, DesiredLane, DesiredPeer } from '../control/desired.ts';
import { type Permissions, refusedColumns } from '../control/permissions.ts';
import type { ExchangeDatabase, InboxDelivery, LanePlace, QuarantineRow } from '../exchange-database/index.ts';
import { type Answers, placeOf } from '../receive/answer.ts';
import { unanswered } from '../receive/receipt.ts';
import { type HeldSplit, heldCells, keyTextOf, splitHeld } from './held.ts';
import type { TargetTables } from './targetTables.ts';

export interface ApplyDeliveryPorts {
  readonly database: Pick<ExchangeDatabase, 'quarantine' | 'receiptsOut' | 'transaction' | 'inbox' | 'lanesIn'>;
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
}

export type Applied =
  | { readonly kind: 'answered' }
  /** The mark stands elsewhere than remembered: look at it again. */
  | { readonly kind: 'lookAgain'; readonly why: string }
  | { readonly kind: 'fork'; readonly why: string }
  | { readonly kind: 'guard'; readonly table: string; readonly rows: number; readonly of: number };

/** Open rows that one lane may gather before it stops: one bad schema must not fill a disk row by row. */
export const OPEN_ROWS_MAX = 1_000;

/**
 * Applies one delivery. Throws QiaoError: transient for what will pass, permanent for what stops the lane (TARGET_SCHEMA,
 * TARGET_RIGHTS, ACCEPT_DENIED, QUARANTINE_LIMIT, VERSION_REFUSED, KEY_UNKNOWN, …). After a throw nothing has changed.
 */
export async function applyDelivery(
  opened: OpenedDelivery,
  landing: Landing,
  ports: ApplyDeliveryPorts,
): Promise<Applied> {
  const { header, delivery } = opened;
  const place = placeOf(header);
  refuseForeignColumns(opened.sections, landing, ports);
  const split = holdBehindOpenRows(opened, ports);
  // Empty sections say nothing to a target; what is left keeps its index as sent for the quarantine.
  const kept = split.sections.flatMap((section, index) => (section.rowCount === 0 ? [] : [{ section, index }]));
  const appliedAtMs = ports.clock.nowMs();
  const work = await workOf(opened, landing, ports, {
    sections: kept.map(({ section }) => section),
    held: heldSections(split, opened.sections),
    appliedAtMs,
    beforeCommit: (quarantined) => {
      const refusedRows = quarantined.map((row) => refusedRow(row, kept, split, opened.sections));
      keepOpenRows(place, [...heldRows(split, opened.sections), ...refusedRows], appliedAtMs, ports);
      crashPoint('quarantine.kept');
    },
  });
  const before = ports.database.quarantine.ofDelivery(place);
  // Without isolated rows the target does not call back: held rows, and the leftovers of an attempt that failed, are settled
  // here. Should the target not commit, the next attempt replaces them again.
  const isKnown =
    place.epoch === currentEpoch(place.lane, ports) && place.sequence <= currentSequence(place.lane, ports);
  if (!isKnown && (split.held.length > 0 || before.length > 0)) {
    keepOpenRows(place, heldRows(split, opened.sections), appliedAtMs, ports);
    crashPoint('quarantine.held');
  }
  const result = await landing.target.apply(work);
  crashPoint('apply.committed');
  if (header.role?.$case === 'opening') crashPoint('epoch.applied');
  if (header.role?.$case === 'void') crashPoint('void.applied');
  return answerResult(result, { opened, landing, held: heldCells(split.held), work, delivery }, ports);
}

interface Outcome {
  readonly opened: OpenedDelivery;
  readonly landing: Landing;
  readonly held: readonly OutcomeCell[];
  readonly work: ApplyWork;
  readonly delivery: InboxDelivery;
}

function answerResult(result: ApplyResult, outcome: Outcome, ports: ApplyDeliveryPorts): Applied {
  const { opened, landing, work, delivery } = outcome;
  const { header } = opened;
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
        ports.answers.give({
          header,
          answer: { outcomes: [...result.answer.outcomes, ...outcome.held], extras: result.answer.extras },
          receivedAtMs: delivery.receivedAtMs,
          appliedAtMs: work.appliedAtMs,
          point: { epoch: place.epoch, nonce: place.nonce, sequence: place.sequence, chain: work.chain },
        });
      });
      crashPoint('receipt.made');
      return { kind: 'answered' };
    case 'alreadyApplied':
      answerFromMark(result.answer, outcome, ports);
      return { kind: 'answered' };
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

/** The target committed this before: the stored receipt goes out again, or one is made from what the mark kept. */
function answerFromMark(
  answer: { outcomes: readonly OutcomeCell[]; extras: ApplyResultExtras },
  { opened, delivery, work }: Outcome,
  ports: ApplyDeliveryPorts,
): void {
  const { header } = opened;
  const place = placeOf(header);
  ports.database.transaction(() => {
    if (ports.answers.giveAgain(place, header.contentHash, header.senderId)) {
      ports.database.inbox.remove(place);
      return;
    }
    const isRows = header.role?.$case === 'rows';
    const settled = ports.database.lanesIn.get(place.lane)?.settledThrough ?? -1n;
    const isSettled = place.sequence <= header.settledThrough || place.sequence <= settled;
    if (isRows && answer.outcomes.length === 0 && header.counts.length > 0 && isSettled) {
      // Purged from the mark because its sender holds the settled receipt: there is nothing left to say.
      ports.database.inbox.remove(place);
      return;
    }
    const held = unanswered(header, answer.outcomes);
    if (held.length > 0) {
      ports.log.warn(
        { lane: idText(place.lane), sequence: String(place.sequence) },
        'rows not in the mark answered as held',
      );
    }
    ports.answers.give({
      header,
      answer: { outcomes: [...answer.outcomes, ...held], extras: answer.extras },
      receivedAtMs: delivery.receivedAtMs,
      appliedAtMs: work.appliedAtMs,
      point: undefined,
    });
  });
}

type ApplyResultExtras = Extract<ApplyResult, { kind: 'applied' }>['answer']['extras'];

async function workOf(
  { header }: OpenedDelivery,
  landing: Landing,
  ports: ApplyDeliveryPorts,
  parts: Pick<ApplyWork, 'sections' | 'appliedAtMs' | 'beforeCommit'> & { readonly held: readonly Section[] },
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
    tables: hasRows
      ? await tables.of(bridge.definition, lane.destination, parts.sections, source)
      : new Map<string, never>(),
    sections: parts.sections,
    opensEpoch: header.role?.$case === 'opening',
    load: {
      begins: rows?.loadBegins ?? false,
      ends: rows?.loadEnds ?? false,
      // A person may have allowed the deletes after the delivery was signed.
      allowedDeletes: Number(allowed > bridge.allowedDeletes ? allowed : bridge.allowedDeletes),
      held: parts.held,
      isBroken: header.role?.$case === 'void',
    },
    batchNo: `${bridge.name}-${place.epoch}-${place.sequence}`,
    sourceDepartment: sender?.departmentTitle ?? '',
    appliedAtMs: parts.appliedAtMs,
    deleteGuard: bridge.definition.deleteGuard,
    beforeCommit: parts.beforeCommit,
  };
}

/** The definition may leave columns to the source, so the node's own fence is asked again with the columns that really came. */
function refuseForeignColumns(
  sections: readonly Section[],
  { lane, bridge }: Landing,
  ports: ApplyDeliveryPorts,
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

function holdBehindOpenRows({ header, sections }: OpenedDelivery, ports: ApplyDeliveryPorts): HeldSplit {
  const place = placeOf(header);
  const openKeys = new Map<string, Set<string>>();
  for (const row of ports.database.quarantine.ofLane(place.lane, OPEN_ROWS_MAX * 2)) {
    // Its own rows of an earlier attempt do not hold a delivery back.
    if (row.epoch === place.epoch && row.sequence === place.sequence) continue;
    const keys = openKeys.get(row.table) ?? new Set();
    keys.add(keyTextOf(row.line, row.keyColumns));
    openKeys.set(row.table, keys);
  }
  return splitHeld(sections, openKeys);
}

/** The rows held back, as sections. */
function heldSections({ held }: HeldSplit, sections: readonly Section[]): Section[] {
  return [...Map.groupBy(held, (row) => row.section)].map(([index, rows]) => ({
    ...(sections[index] as Section),
    rowCount: rows.length,
    rows: Buffer.concat(rows.map(({ line }) => line)),
  }));
}

function heldRows({ held }: HeldSplit, sections: readonly Section[]): QuarantineRow[] {
  return held.map(({ section, index, table, kind, line }) => ({
    ...shapeOf(sections[section]),
    section,
    index,
    table,
    kind,
    line,
    code: 'HELD',
    reason: 'an earlier change of the same key is open',
  }));
}

function refusedRow(
  row: QuarantinedRow,
  kept: readonly { section: Section; index: number }[],
  split: HeldSplit,
  sections: readonly Section[],
): QuarantineRow {
  const section = kept[row.section]?.index ?? row.section;
  return {
    ...shapeOf(sections[section]),
    section,
    index: split.sentIndexes.get(section)?.[row.index] ?? row.index,
    table: row.table,
    kind: row.kind,
    line: row.line,
    code: row.code,
    reason: row.reason,
  };
}

function shapeOf(section: Section | undefined): Pick<QuarantineRow, 'columns' | 'keyColumns' | 'wholeRows'> {
  return {
    columns: section?.columns ?? [],
    keyColumns: section?.keyColumns ?? 0,
    wholeRows: section?.wholeRows ?? false,
  };
}

/** Makes these the open rows of the delivery, or throws and changes nothing when the lane would gather too many. */
function keepOpenRows(place: LanePlace, rows: readonly QuarantineRow[], atMs: number, ports: ApplyDeliveryPorts): void {
  ports.database.transaction(() => {
    ports.database.quarantine.replace(place, rows, atMs);
    const open = ports.database.quarantine.count(place.lane);
    if (open <= OPEN_ROWS_MAX) return;
    throw new QiaoError(
      'QUARANTINE_LIMIT',
      `the lane would have ${open} open rows, at most ${OPEN_ROWS_MAX} are gathered`,
      {
        hint: 'find the common cause: qiao quarantine list',
      },
    );
  });
}

/** Rows kept for a delivery that then was not applied belong to nothing once its epoch is closed. */
function forgetUnappliedRows(lane: Uint8Array, ports: ApplyDeliveryPorts): void {
  const state = ports.database.lanesIn.get(lane);
  if (state === undefined) return;
  for (const row of ports.database.quarantine.ofLane(lane, OPEN_ROWS_MAX * 2)) {
    if (row.epoch === state.epoch && row.sequence > state.appliedSequence)
      ports.database.quarantine.replace(row, [], 0);
  }
}

function currentEpoch(lane: Uint8Array, ports: ApplyDeliveryPorts): bigint {
  return ports.database.lanesIn.get(lane)?.epoch ?? 0n;
}

function currentSequence(lane: Uint8Array, ports: ApplyDeliveryPorts): bigint {
  return ports.database.lanesIn.get(lane)?.appliedSequence ?? -1n;
}
