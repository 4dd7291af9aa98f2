// Rows that wait, for people: listed without contents, shown sealed for one session, edited, tried again, given up. Decisions are made
// durable here and carried out by apply; the answer waits a moment for that and says how far it got.

import { createHash } from 'node:crypto';
import { Outcome } from '@qiao/contract/counts';
import {
  CommandOutcome,
  CommandResult,
  type ListOpenRows,
  OpenRow,
  RowAction,
  RowContents,
  type RowEdit,
  type RowSelector,
  type SettleRows,
  type ShowOpenRow,
} from '@qiao/contract/node';
import {
  checkRows,
  contractKind,
  contractOutcome,
  idText,
  MAX_ROW_BYTES,
  parseId,
  QiaoError,
  readMessage,
  sameBytes,
} from '@qiao/exchange';
import { rowContext } from '@qiao/security';
import { keyTextOf } from '../apply/held.ts';
import type { Desired } from '../control/desired.ts';
import type { ExchangeDatabase, KeptRow, RowDecision, RowSelection } from '../exchange-database/index.ts';
import { checkAccess, type RowAccessPorts } from './rowAccess.ts';

export interface QuarantinePorts extends RowAccessPorts {
  readonly database: Pick<ExchangeDatabase, 'rowDecisions' | 'rowLines' | 'transaction'>;
  desired(): Desired | undefined;
  /** Something was decided: apply looks. */
  onDecided(): void;
  seal(
    content: Uint8Array,
    publicKey: Uint8Array,
    context: Uint8Array,
  ): Promise<{ body: Uint8Array; wrappedKey: Uint8Array }>;
  /** Opens what was sealed for this node. */
  unseal(sealed: { body: Uint8Array; wrappedKey: Uint8Array }, context: Uint8Array): Promise<Uint8Array>;
  /** This node's public key for sealed bodies. */
  readonly sealingKey: Uint8Array;
}

const LIST_DEFAULT = 100;
const LIST_MAX = 1_000;
/** Rows of one decision in bulk; a lane stops long before it has so many. */
const BULK_MAX = 10_000;
/** The hub waits 12 s for an answer. */
const WAIT_MS = 8_000;
const LOOK_MS = 50;
const REFUSED_SHOWN = 20;
const EDITS_MAX = 50;
/** A signed answer holds 1 MiB. */
const SHOWN_MAX_BYTES = 900_000;

export function listOpenRows({ rows, includeSettled, limit }: ListOpenRows, ports: QuarantinePorts): CommandResult {
  const selection = { ...selectionOf(rows, ports), includeSettled };
  const most = limit === 0 ? LIST_DEFAULT : Math.min(limit, LIST_MAX);
  return CommandResult.fromPartial({
    outcome: CommandOutcome.DONE,
    openRows: ports.database.rowDecisions.select(selection, most).map((row) => openRow(row, ports)),
    openRowsTotal: BigInt(ports.database.rowDecisions.count(selection)),
  });
}

/** Throws ROW_UNKNOWN, ROW_ACCESS_DENIED, ROW_ACCESS_INVALID. */
export async function showOpenRow(
  { ref, access, certificate }: ShowOpenRow,
  ports: QuarantinePorts,
): Promise<CommandResult> {
  const { sessionKey } = checkAccess({ access, certificate, ref, action: RowAction.SHOW }, ports);
  const row = rowOf(ref, ports);
  const received = ports.database.rowLines.received(row);
  const edited = ports.database.rowLines.edited(row);
  const contents = RowContents.encode({
    columns: [...row.columns],
    received,
    edited: edited ?? new Uint8Array(0),
    beforeSha256: sha256(edited ?? received),
  }).finish();
  if (contents.length > SHOWN_MAX_BYTES) {
    throw new QiaoError(
      'ROW_TOO_LARGE',
      `the row has ${contents.length} bytes, at most ${SHOWN_MAX_BYTES} are shown or edited`,
      {
        hint: 'replay it, or give it up and mend it at the source',
      },
    );
  }
  const sealed = await ports.seal(contents, sessionKey, rowContext('show', ref));
  return CommandResult.fromPartial({
    outcome: CommandOutcome.DONE,
    shownRow: {
      row: openRow(row, ports),
      keyColumns: row.keyColumns,
      sealed: sealed.body,
      wrappedKey: sealed.wrappedKey,
      sealingKey: ports.sealingKey,
    },
  });
}

/** Throws ROWS_TOO_MANY, REASON_MISSING, ROW_UNKNOWN, ROW_CHANGED, KEY_CHANGED, ROW_TEXT_INVALID and what access throws. */
export async function settleRows(settle: SettleRows, ports: QuarantinePorts, operator: string): Promise<CommandResult> {
  switch (settle.action) {
    case RowAction.EDIT:
      return await editRow(settle, ports);
    case RowAction.REPLAY:
      return await decideRows(settle, 'replay', ports, operator);
    case RowAction.ABANDON:
      if (settle.reason.trim() === '' || settle.reason.length > 500) {
        throw new QiaoError(
          'REASON_MISSING',
          `found a reason of ${settle.reason.length} characters, expected 1 to 500`,
          {
            hint: 'say why the rows are given up: --reason TEXT',
          },
        );
      }
      return await decideRows(settle, 'abandon', ports, operator);
    case RowAction.SHOW:
    case RowAction.PREVIEW:
    case RowAction.UNSPECIFIED:
    case RowAction.UNRECOGNIZED:
      throw new QiaoError('COMMAND_UNKNOWN', 'this agent cannot do that to rows', { hint: 'update the agent' });
    default:
      return settle.action satisfies never;
  }
}

async function decideRows(
  settle: SettleRows,
  decision: RowDecision,
  ports: QuarantinePorts,
  operator: string,
): Promise<CommandResult> {
  const { rowDecisions } = ports.database;
  const selection = selectionOf(settle.rows, ports);
  const most = settle.mostRows === 0 ? BULK_MAX : Math.min(settle.mostRows, BULK_MAX);
  const decided = ports.database.transaction(() => {
    const rows = rowDecisions.select(selection, most + 1);
    if (rows.length > most) {
      throw new QiaoError(
        'ROWS_TOO_MANY',
        `the selection names ${rowDecisions.count(selection)} rows, ${most} were confirmed`,
        {
          hint: 'rows came meanwhile, or the selection is wide: narrow it by --bridge, --table or --code, and confirm again',
        },
      );
    }
    const atMs = ports.clock.nowMs();
    return rows.filter((row) => rowDecisions.decide(row, { decision, by: operator, reason: settle.reason, atMs }));
  });
  if (decided.length > 0) ports.onDecided();
  const report = await waitFor(decided, ports);
  const outcome =
    report.settled === decided.length
      ? CommandOutcome.DONE
      : report.settled > 0
        ? CommandOutcome.PARTLY_DONE
        : decided.length === 0
          ? CommandOutcome.DONE
          : CommandOutcome.NOT_DONE;
  return CommandResult.fromPartial({ outcome, settledRows: { decided: decided.length, ...report } });
}

/** Waits until nothing is decided about these rows any more, or for as long as the hub waits. */
async function waitFor(
  decided: readonly KeptRow[],
  ports: QuarantinePorts,
): Promise<{ settled: number; refused: number; pending: number; refusedRows: OpenRow[] }> {
  const { rowDecisions } = ports.database;
  const untilMs = ports.clock.elapsedMs() + WAIT_MS;
  const stand = ({ ref }: KeptRow) => rowDecisions.standing(ref);
  // The rows at the end are settled last: while one of them is pending, nobody looks at those before it.
  const left = [...decided];
  for (;;) {
    for (let last = left.at(-1); last !== undefined && stand(last) !== 'pending'; last = left.at(-1)) left.pop();
    if (left.length === 0 || ports.clock.elapsedMs() >= untilMs) break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  const rows = Map.groupBy(decided, stand);
  const refused = rows.get('refused') ?? [];
  return {
    settled: rows.get('settled')?.length ?? 0,
    refused: refused.length,
    pending: rows.get('pending')?.length ?? 0,
    refusedRows: refused.slice(0, REFUSED_SHOWN).map((row) => openRow(rowDecisions.byRef(row.ref) ?? row, ports)),
  };
}

async function editRow({ rows, edit }: SettleRows, ports: QuarantinePorts): Promise<CommandResult> {
  const ref = rows?.refs[0];
  if (ref === undefined || rows?.refs.length !== 1 || edit === undefined) {
    throw new QiaoError('COMMAND_INVALID', 'an edit names one row and its new contents', {
      hint: 'qiao quarantine edit REF',
    });
  }
  const { name } = checkAccess(
    { access: edit.access, certificate: edit.certificate, ref, action: RowAction.EDIT, sealed: edit.sealed },
    ports,
  );
  const contents = await openedEdit(edit, ref, ports);
  ports.database.transaction(() => {
    const row = rowOf(ref, ports);
    if (row.state !== 'open')
      throw new QiaoError('ROW_SETTLED', `row ${ref} does not wait any more`, { hint: 'qiao quarantine list' });
    checkEdit(row, contents, ports);
    ports.database.rowLines.addEdit(row, contents.edited, name, ports.clock.nowMs());
  });
  return CommandResult.fromPartial({ outcome: CommandOutcome.DONE, settledRows: { decided: 1, pending: 0 } });
}

async function openedEdit(edit: RowEdit, ref: string, ports: QuarantinePorts): Promise<RowContents> {
  try {
    const opened = await ports.unseal({ body: edit.sealed, wrappedKey: edit.wrappedKey }, rowContext('edit', ref));
    return readMessage(RowContents, opened, 'edit');
  } catch (error) {
    throw new QiaoError('EDIT_UNREADABLE', 'the edit was not sealed for this node and row', {
      hint: 'run the command again; if it stays, compare the node’s fingerprint: qiao node show CODE',
      cause: error,
    });
  }
}

function checkEdit(row: KeptRow, { columns, edited, beforeSha256 }: RowContents, ports: QuarantinePorts): void {
  if (!sameBytes(beforeSha256, sha256(ports.database.rowLines.newest(row)))) {
    throw new QiaoError('ROW_CHANGED', 'somebody else edited the row meanwhile', {
      hint: `qiao quarantine show ${refText(row, ports)}`,
    });
  }
  if (JSON.stringify(columns) !== JSON.stringify(row.columns)) {
    throw new QiaoError('ROW_TEXT_INVALID', 'the edit has other columns than the row', { hint: 'edit values only' });
  }
  if (edited.length > MAX_ROW_BYTES || checkRows(edited, row.columns.length) !== 1) {
    throw new QiaoError('ROW_TEXT_INVALID', 'the edit is not one row', { hint: 'edit values only' });
  }
  if (keyTextOf(edited, row.keyColumns) !== row.keyText) {
    throw new QiaoError('KEY_CHANGED', 'the edit changes the key, by which both ends name the row', {
      hint: 'mend the key at the source, and give this row up: qiao quarantine abandon',
    });
  }
  if (row.kind === 'delete') {
    throw new QiaoError('ROW_TEXT_INVALID', 'a delete carries its key only: there is nothing to edit', {
      hint: 'qiao quarantine replay',
    });
  }
  if (ports.database.rowLines.edits(row).count >= EDITS_MAX) {
    throw new QiaoError('EDITS_TOO_MANY', `the row was edited ${EDITS_MAX} times`, {
      hint: 'replay it, or give it up',
    });
  }
}

function rowOf(ref: string, ports: QuarantinePorts): KeptRow {
  const row = ports.database.rowDecisions.byRef(ownRef(ref, ports));
  if (row !== undefined) return row;
  throw new QiaoError('ROW_UNKNOWN', `no row ${ref} is kept here`, { hint: 'qiao quarantine list' });
}

/** The part of a reference behind the node's code. Throws ROW_UNKNOWN for another node's. */
function ownRef(ref: string, { nodeCode }: QuarantinePorts): string {
  const [node, own, ...rest] = ref.split('/');
  if (node === nodeCode && own !== undefined && rest.length === 0) return own;
  throw new QiaoError('ROW_UNKNOWN', `${ref} is no reference of a row at ${nodeCode}`, {
    hint: 'qiao quarantine list',
  });
}

function selectionOf(selector: RowSelector | undefined, ports: QuarantinePorts): RowSelection {
  const { refs = [], bridge = '', laneId = new Uint8Array(0), table = '', code = '' } = selector ?? {};
  const lanes: Uint8Array[] = [];
  for (const one of ports.desired()?.bridges.values() ?? []) {
    if (bridge === '' || one.name !== bridge) continue;
    for (const lane of one.lanes) lanes.push(parseId(lane.laneId));
  }
  if (bridge !== '' && lanes.length === 0) {
    throw new QiaoError('BRIDGE_UNKNOWN', `no bridge ${bridge} ends at this node`, { hint: 'qiao bridge list' });
  }
  const wanted =
    laneId.length === 0 ? lanes : lanes.length === 0 ? [laneId] : lanes.filter((lane) => sameBytes(lane, laneId));
  return {
    ...(refs.length === 0 ? {} : { refs: refs.map((ref) => ownRef(ref, ports)) }),
    ...(bridge === '' && laneId.length === 0 ? {} : { lanes: wanted }),
    table,
    code,
  };
}

function openRow(row: KeptRow, ports: QuarantinePorts): OpenRow {
  const edits = ports.database.rowLines.edits(row);
  return OpenRow.fromPartial({
    ref: refText(row, ports),
    bridge: bridgeOf(row, ports),
    laneId: row.lane,
    epoch: row.epoch,
    sequence: row.sequence,
    table: row.table,
    kind: contractKind(row.kind),
    outcome: row.state === 'open' ? contractOutcome(row.outcome) : fateOutcome(row),
    code: row.code,
    reason: row.reason,
    atMs: BigInt(row.atMs),
    settled: row.state === 'settled',
    decision: actionOf(row.decision),
    decidedBy: row.decidedBy,
    decidedAtMs: BigInt(row.decidedAtMs),
    decisionReason: row.decisionReason,
    editedBy: edits.editedBy,
    editedAtMs: BigInt(edits.atMs),
    edits: edits.count,
  });
}

function fateOutcome({ fate }: KeptRow): Outcome {
  switch (fate) {
    case 'abandoned':
      return Outcome.ABANDONED;
    case 'cancelled':
      return Outcome.CANCELLED;
    case 'keptTarget':
      return Outcome.KEPT_TARGET;
    case 'landed':
    case undefined:
      return Outcome.UNSPECIFIED;
    default:
      return fate satisfies never;
  }
}

function actionOf(decision: RowDecision | undefined): RowAction {
  switch (decision) {
    case 'replay':
      return RowAction.REPLAY;
    case 'abandon':
    case 'cancel':
    case 'supersede':
      return RowAction.ABANDON;
    case undefined:
      return RowAction.UNSPECIFIED;
    default:
      return decision satisfies never;
  }
}

function refText(row: KeptRow, { nodeCode }: QuarantinePorts): string {
  return `${nodeCode}/${row.ref}`;
}

function bridgeOf(row: KeptRow, ports: QuarantinePorts): string {
  const lane = idText(row.lane);
  for (const bridge of ports.desired()?.bridges.values() ?? []) {
    if (bridge.lanes.some((one) => one.laneId === lane)) return bridge.name;
  }
  return '';
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}
