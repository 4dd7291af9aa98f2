// Rows at the source, for people: the first ones as they would leave, and those that the last scan refused. Contents and keys leave
// only sealed for the session of an operator whom this node's file names.

import { type DataSource, RefusedCounts } from '@qiao/adapters';
import {
  CommandOutcome,
  CommandResult,
  type ListRefusedRows,
  PreviewContents,
  type PreviewRows,
  RefusedContents,
  type RefusedCount,
  RefusedRow,
  RowAction,
} from '@qiao/contract/node';
import { type Hasher, ProblemsError, parseId, QiaoError } from '@qiao/exchange';
import { rowContext } from '@qiao/security';
import { KeyEncoder } from '../capture/keys.ts';
import { type PlannedTable, planTables } from '../capture/plan.ts';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import { exposeProblems, type Permissions } from '../control/permissions.ts';
import type { CaptureTable, ExchangeDatabase } from '../exchange-database/index.ts';
import { checkAccess, type RowAccessPorts } from './rowAccess.ts';

export interface SourceRowPorts extends RowAccessPorts {
  readonly permissions: Permissions;
  readonly hasher: Hasher;
  readonly database: Pick<ExchangeDatabase, 'captures' | 'refusals'>;
  desired(): Desired | undefined;
  open(dataSource: string): Promise<DataSource>;
  seal(
    content: Uint8Array,
    publicKey: Uint8Array,
    context: Uint8Array,
  ): Promise<{ body: Uint8Array; wrappedKey: Uint8Array }>;
}

const ROWS_DEFAULT = 10;
const ROWS_MAX = 100;
/** A filter or a check that nothing passes shall not read a whole table. */
const LOOKED_AT_MAX = 10_000;
/** The hub waits 12 s for an answer. */
const READ_MS = 8_000;
/** A signed answer holds 1 MiB. */
const SHOWN_MAX_BYTES = 800_000;
const REFUSED_SHOWN = 20;
const LIST_DEFAULT = 100;
const LIST_MAX = 1_000;
const LF = 0x0a;

/** Throws ROW_ACCESS_DENIED, ROW_ACCESS_INVALID, BRIDGE_UNKNOWN, TABLE_UNKNOWN, EXPOSE_DENIED and what reading throws. */
export async function previewRows(command: PreviewRows, ports: SourceRowPorts): Promise<CommandResult> {
  const { bridge: name, table, access, certificate } = command;
  const ref = tableRef(ports, name, table);
  const { sessionKey } = checkAccess({ access, certificate, ref, action: RowAction.PREVIEW }, ports);
  const { definition } = bridgeOf(name, ports);
  const problems = exposeProblems(definition, ports.permissions);
  if (problems.length > 0) throw new ProblemsError(problems);
  const tables = definition.source.tables.filter((one) => one.name === table);
  if (tables.length === 0) throw tableUnknown(name, table);
  const dataSource = await ports.open(definition.source.dataSource);
  const source = { ...definition.source, tables };
  const [planned] = await planTables(dataSource, { ...definition, source }, ports.hasher);
  const most = command.rows === 0 ? ROWS_DEFAULT : Math.min(command.rows, ROWS_MAX);
  const contents = PreviewContents.encode(await firstRows(dataSource, planned as PlannedTable, most)).finish();
  const { body: sealed, wrappedKey } = await ports.seal(contents, sessionKey, rowContext('preview', ref));
  return CommandResult.fromPartial({ outcome: CommandOutcome.DONE, previewedRows: { sealed, wrappedKey } });
}

/** Throws BRIDGE_UNKNOWN, TABLE_UNKNOWN, and with an access what that throws. */
export async function listRefusedRows(command: ListRefusedRows, ports: SourceRowPorts): Promise<CommandResult> {
  const { bridge: name, table, limit, access, certificate } = command;
  const ref = tableRef(ports, name, table);
  const session =
    access === undefined ? undefined : checkAccess({ access, certificate, ref, action: RowAction.PREVIEW }, ports);
  const { bridgeId } = bridgeOf(name, ports);
  const { captures, refusals } = ports.database;
  const tables = captures.tables(parseId(bridgeId)).filter((one) => table === '' || one.name === table);
  if (tables.length === 0) throw tableUnknown(name, table);
  const counts = tables.flatMap(({ id, name: of }) => refusals.counts(id).map((counted) => refusedCount(of, counted)));
  let left = limit === 0 ? LIST_DEFAULT : Math.min(limit, LIST_MAX);
  const rows = tables.flatMap(({ id, name: of }) => {
    const held = captures.table(parseId(bridgeId), of) as CaptureTable;
    const keys = KeyEncoder.ofEncoding((JSON.parse(held.keyLayout) as string[]).at(-1) ?? '');
    const found = refusals.rows(id, left);
    left -= found.length;
    return found.map((row) =>
      RefusedRow.fromPartial({ ...row, ref: `${ports.nodeCode}/${row.ref}`, table: of, key: keys.decode(row.key) }),
    );
  });
  const open = rows.map((row) => ({ ...row, key: new Uint8Array(0) }));
  if (session === undefined) {
    return CommandResult.fromPartial({ outcome: CommandOutcome.DONE, refusedRows: { counts, rows: open } });
  }
  const contents = RefusedContents.encode({ rows: fitting(rows) }).finish();
  const { body: sealed, wrappedKey } = await ports.seal(contents, session.sessionKey, rowContext('preview', ref));
  return CommandResult.fromPartial({
    outcome: CommandOutcome.DONE,
    refusedRows: { counts, rows: open, sealed, wrappedKey },
  });
}

function tableRef({ nodeCode }: SourceRowPorts, bridge: string, table: string): string {
  return `${nodeCode}/${bridge}/${table}`;
}

function bridgeOf(name: string, ports: SourceRowPorts): DesiredBridge {
  for (const bridge of ports.desired()?.bridges.values() ?? []) {
    if (bridge.name === name && bridge.definition.source.node === ports.nodeCode) return bridge;
  }
  throw new QiaoError('BRIDGE_UNKNOWN', `no deployed bridge ${name} begins at this node`, {
    hint: `qiao bridge show ${name}  # says from where it comes, and whether it is deployed`,
  });
}

function tableUnknown(bridge: string, table: string): QiaoError {
  return new QiaoError('TABLE_UNKNOWN', `bridge ${bridge} captures no table ${table}`, {
    hint: `qiao bridge show ${bridge}`,
  });
}

async function firstRows(dataSource: DataSource, table: PlannedTable, most: number): Promise<PreviewContents> {
  const { layout, transform } = table;
  const lines: Buffer[] = [];
  const refused: RefusedRow[] = [];
  const counts = new RefusedCounts();
  let filtered = 0;
  let bytes = 0;
  let lookedAt = 0;
  const isEnough = () => lines.length >= most || lookedAt >= LOOKED_AT_MAX || bytes > SHOWN_MAX_BYTES;
  const signal = AbortSignal.timeout(READ_MS);
  await using snapshot = await dataSource.snapshot({ signal, maxMs: READ_MS, stepRows: LOOKED_AT_MAX });
  for await (const { rows, refused: unreadable = [] } of snapshot.rows(table.read)) {
    for (let start = 0; start < rows.length && !isEnough(); lookedAt++) {
      const end = rows.indexOf(LF, start);
      const result = transform.apply(rows, start, end);
      start = end + 1;
      switch (result.kind) {
        case 'row':
          bytes += result.line.length;
          // What is larger than an answer ends it.
          if (bytes <= SHOWN_MAX_BYTES) lines.push(Buffer.from(result.line));
          break;
        case 'filtered':
          filtered += 1;
          break;
        case 'refused':
          counts.add(result);
          if (refused.length < REFUSED_SHOWN) refused.push(refusal(layout.table, result));
          break;
        default:
          result satisfies never;
      }
    }
    for (const each of unreadable) {
      counts.add(each, each.count);
      lookedAt += each.count;
    }
    if (isEnough()) break;
  }
  const contents = {
    columns: [...layout.columns],
    keyColumns: layout.keyColumns,
    rows: Buffer.concat(lines),
    filtered,
    refusedCounts: counts.list().map((counted) => refusedCount(layout.table, counted)),
    sizeLimited: bytes > SHOWN_MAX_BYTES,
  };
  return { ...contents, refused: fitting(refused, SHOWN_MAX_BYTES - contents.rows.length) };
}

function refusedCount(
  table: string,
  { code, column, count }: { code: string; column: string; count: number },
): RefusedCount {
  return { table, code, column, rows: BigInt(count) };
}

function refusal(
  table: string,
  { code, column, keyLine }: { code: string; column: string; keyLine: Buffer | undefined },
): RefusedRow {
  return RefusedRow.fromPartial({ table, code, column, key: keyLine ?? new Uint8Array(0) });
}

/** Keys as long as rows may be would fill an answer: those that do not fit are left out. */
function fitting(rows: readonly RefusedRow[], bytes = SHOWN_MAX_BYTES): RefusedRow[] {
  let left = bytes;
  return rows.map((row) => {
    left -= row.key.length;
    return left >= 0 ? row : { ...row, key: new Uint8Array(0) };
  });
}
