// Reading the books: tallies of a span of days become lines — one per lane, or one per lane and day — with the verdict and the
// remarks that name the leg and the side. Only here does the clock come in: a receipt missing past the bridge's lateAfter.

import type { CaptureCounts, ExtraRows, OutcomeCount } from '@qiao/contract/counts';
import { Origin } from '@qiao/contract/delivery';
import type { BooksLine, OriginRows, ReconcileRequest, ReconcileResponse, SideCounts } from '@qiao/contract/monitor';
import type { DirectoryBridge, LaneAssignment } from '@qiao/contract/node';
import {
  contractKind,
  contractOutcome,
  contractVerdict,
  hasLanded,
  idText,
  KINDS,
  type Kind,
  type Outcome,
  QiaoError,
  type Verdict,
  worst,
} from '@qiao/exchange';
import type { Nodes } from '../ingest/nodes.ts';
import type { DeliveryState, MonitorDatabase } from '../monitorDatabase.ts';
import { isDay } from './day.ts';
import { type BridgeLane, type HeardPorts, type HeldWords, heldByWord, isIncomplete, whoWasHeard } from './heard.ts';
import { type BoundsOf, countWaiting, type WaitingBounds, type WaitingCounts, waitingBounds } from './unanswered.ts';

export interface BooksPorts extends HeardPorts {
  readonly database: MonitorDatabase;
  readonly nodes: Nodes;
  /** Used until the first directory is here. */
  readonly timeZone: string;
}

const ORIGINS = [
  ['change', Origin.CHANGE],
  ['load', Origin.LOAD],
  ['resync', Origin.RESYNC],
  ['resend', Origin.RESEND],
] as const;
const OPEN: ReadonlySet<string> = new Set<Outcome>(['quarantined', 'held']);

interface TallyRow {
  readonly owner_id: string;
  readonly day: string;
  readonly measure: string;
  readonly table_name: string;
  readonly kind: string;
  readonly detail: string;
  readonly amount: number;
}

/** The books for a request. Throws DAY_INVALID, BRIDGE_UNKNOWN. */
export async function readBooks(ports: BooksPorts, request: ReconcileRequest): Promise<ReconcileResponse> {
  requireDays(request);
  const lanes = wantedLanes(ports.nodes, request);
  const missing = await missingBooks(ports, heldByWord(ports));
  const tallies = await selectTallies(ports, request);
  const boundsOf = await waitingBounds(ports.database, ports.nowMs());
  const lines: BooksLine[] = [];
  for (const { bridge, lane } of lanes) {
    const days = request.byDay ? daysOf(tallies, lane) : [''];
    for (const day of days) lines.push(await readLine(ports, request, tallies, boundsOf, bridge, lane, day));
  }
  const heard = whoWasHeard(ports, lanes, missing);
  return {
    lines,
    verdict: contractVerdict(worst(lines.map(({ verdict }) => verdictOf(verdict)))),
    timeZone: ports.nodes.directory?.timeZone ?? ports.timeZone,
    atMs: BigInt(ports.nowMs()),
    heard,
    incomplete: isIncomplete(heard),
  };
}

/** Throws DAY_INVALID. */
export function requireDays(request: Pick<ReconcileRequest, 'fromDay' | 'toDay'>): void {
  for (const day of [request.fromDay, request.toDay]) {
    if (day !== '' && !isDay(day)) {
      throw new QiaoError('DAY_INVALID', `found day ${JSON.stringify(day)}, expected YYYY-MM-DD`, {
        hint: 'write a day of the calendar, such as 2026-01-31',
      });
    }
  }
}

/** By node: how many entries are not here that a monitor held once. */
async function missingBooks({ database }: BooksPorts, words: HeldWords): Promise<Map<string, number>> {
  const positions = await database.selectFrom('book_position').select(['node_id', 'database_id', 'through']).execute();
  const through = new Map(positions.map((one) => [`${one.node_id} ${one.database_id}`, one.through]));
  return new Map(
    [...words].map(([node, { databaseId, number }]) => [
      node,
      Math.max(0, number - (through.get(`${node} ${databaseId}`) ?? 0)),
    ]),
  );
}

/** The bridges that have or had this name; every one for an empty name. Throws BRIDGE_UNKNOWN. */
export function wantedBridges(nodes: Nodes, wanted: string): DirectoryBridge[] {
  const bridges = (nodes.directory?.bridges ?? []).filter(({ name }) => wanted === '' || name === wanted);
  if (wanted !== '' && bridges.length === 0) {
    throw new QiaoError('BRIDGE_UNKNOWN', `no bridge ${wanted} in the books`, { hint: 'qiao bridge list' });
  }
  return bridges;
}

function wantedLanes(nodes: Nodes, request: ReconcileRequest): BridgeLane[] {
  const bridges = wantedBridges(nodes, request.bridge);
  const isOf = (department: string, nodeId: Uint8Array) =>
    department === '' || department === nodes.node(idText(nodeId))?.departmentCode;
  return bridges.flatMap((bridge) =>
    bridge.lanes
      .filter((lane) => isOf(request.fromDepartment, lane.senderId) && isOf(request.toDepartment, lane.receiverId))
      .map((lane) => ({ bridge, lane })),
  );
}

async function selectTallies(ports: BooksPorts, request: ReconcileRequest): Promise<Map<string, TallyRow[]>> {
  let query = ports.database.selectFrom('tally').selectAll();
  if (request.fromDay !== '') query = query.where('day', '>=', request.fromDay);
  if (request.toDay !== '') query = query.where('day', '<=', request.toDay);
  const byOwner = new Map<string, TallyRow[]>();
  for (const row of await query.execute()) {
    const rows = byOwner.get(row.owner_id);
    if (rows === undefined) byOwner.set(row.owner_id, [row]);
    else rows.push(row);
  }
  return byOwner;
}

function daysOf(tallies: ReadonlyMap<string, TallyRow[]>, lane: LaneAssignment): string[] {
  return [...new Set((tallies.get(idText(lane.laneId)) ?? []).map(({ day }) => day))].sort();
}

async function readLine(
  ports: BooksPorts,
  request: ReconcileRequest,
  tallies: ReadonlyMap<string, TallyRow[]>,
  boundsOf: BoundsOf,
  bridge: DirectoryBridge,
  lane: LaneAssignment,
  day: string,
): Promise<BooksLine> {
  const laneId = idText(lane.laneId);
  const ofDay = (rows: readonly TallyRow[] = []) =>
    rows.filter((row) => (day === '' || row.day === day) && row.amount !== 0);
  const rows = ofDay(tallies.get(laneId));
  const source = ports.nodes.node(idText(lane.senderId));
  const destination = ports.nodes.node(idText(lane.receiverId));
  const deliveries = byState(rows, 'deliveries');
  const rowsByState = byState(rows, 'rows');
  const bounds = boundsOf(bridge, lane);
  const days = day === '' ? { from: request.fromDay, to: request.toDay } : { from: day, to: day };
  const { late, forgotten } = await countWaiting(ports.database, lane, bounds, days);
  const openRows = sum(rows, (row) => row.measure === 'outcome' && OPEN.has(row.detail));
  const total = [...deliveries.values()].reduce((all, count) => all + count, 0);
  const unreceipted = deliveries.get('inFlight') ?? 0;
  const inFlight = unreceipted - forgotten.deliveries;
  const broken = deliveries.get('deviation') ?? 0;
  const line: BooksLine = {
    bridgeId: bridge.bridgeId,
    bridge: bridge.name,
    title: bridge.title,
    laneId: lane.laneId,
    sourceNode: source?.code ?? idText(lane.senderId),
    sourceDepartment: source?.departmentCode ?? '',
    destinationNode: destination?.code ?? idText(lane.receiverId),
    destinationDepartment: destination?.departmentCode ?? '',
    day,
    captured: captureCounts(ofDay(tallies.get(idText(bridge.bridgeId)))),
    sent: sideCounts(rows, (row) => row.measure === 'sent'),
    received: sideCounts(
      rows,
      (row) => row.measure === 'outcome' && hasLanded({ sent: row.kind as Kind, outcome: row.detail as Outcome }),
    ),
    outcomes: outcomeCounts(rows),
    extras: extraRows(rows),
    origins: originRows(rows),
    deliveries: BigInt(total),
    receipted: BigInt(total - unreceipted),
    inFlightDeliveries: BigInt(inFlight),
    inFlightRows: BigInt((rowsByState.get('inFlight') ?? 0) - forgotten.rows),
    forgottenDeliveries: BigInt(forgotten.deliveries),
    forgottenRows: BigInt(forgotten.rows),
    bridgeState: bridge.state,
    openRows: BigInt(openRows),
    verdict: contractVerdict(
      worst([
        ...(['balanced', 'explained', 'open', 'deviation'] as const).filter(
          (state) => (deliveries.get(state) ?? 0) > 0,
        ),
        ...(inFlight > late.deliveries ? (['inFlight'] as const) : []),
        ...(late.deliveries > 0 ? (['deviation'] as const) : []),
        ...(forgotten.deliveries > 0 ? (['explained'] as const) : []),
        'balanced',
      ]),
    ),
    remarks: [],
    amendments: BigInt(sum(rows, (row) => row.measure === 'amended' && row.detail === 'revisions')),
    amendedRows: BigInt(sum(rows, (row) => row.measure === 'amended' && row.detail === 'rows')),
  };
  return { ...line, remarks: [...remarks(line, late, broken), ...beginRemarks(line, bounds)] };
}

function beginRemarks(line: BooksLine, { senderBeginsAtMs, receiverBeginsAtMs }: WaitingBounds): string[] {
  const remark = (node: string, atMs: number) =>
    `the books of ${node} begin at ${new Date(atMs).toISOString()}: what was before is in a former monitor's backup alone`;
  return [
    ...(senderBeginsAtMs > 0 ? [remark(line.sourceNode, senderBeginsAtMs)] : []),
    ...(receiverBeginsAtMs > 0 ? [remark(line.destinationNode, receiverBeginsAtMs)] : []),
    ...(line.forgottenDeliveries > 0n
      ? [
          `${line.forgottenDeliveries} deliveries (${line.forgottenRows} rows) of before have no receipt here; what the target holds now: qiao bridge verify ${line.bridge} --wait`,
        ]
      : []),
  ];
}

function remarks(line: BooksLine, late: WaitingCounts['late'], broken: number): string[] {
  const found: string[] = [];
  if (late.deliveries > 0) {
    found.push(
      `${late.deliveries} deliveries (${late.rows} rows) wait too long for a receipt of ${line.destinationNode}: ` +
        'leg 传输 when they wait at the sender (qiao watch: send), leg 入库 when the receiver has them (apply)',
    );
  }
  if (broken > 0) {
    found.push(
      `${broken} deliveries whose sums, hash or signature fail: qiao reconcile ${line.bridge} --deliveries --verdict deviation`,
    );
  }
  if (line.openRows > 0n)
    found.push(
      `${line.openRows} rows wait in quarantine at ${line.destinationNode} (leg 入库): qiao quarantine list --bridge ${line.bridge}`,
    );
  const refused = line.captured.reduce((all, { refused: rows }) => all + rows, 0n);
  if (refused > 0n)
    found.push(
      `${refused} rows were refused at ${line.sourceNode} (leg 抽取) and never sent: qiao bridge refused ${line.bridge}`,
    );
  const kept = line.extras.reduce((all, extra) => all + extra.kept, 0n);
  if (kept > 0n)
    found.push(
      `${kept} rows at ${line.destinationNode} were not named by a load (the source has none such, or could not carry them) and were kept`,
    );
  return found;
}

function byState(rows: readonly TallyRow[], measure: string): Map<DeliveryState, number> {
  const states = new Map<DeliveryState, number>();
  for (const row of rows) {
    if (row.measure !== measure) continue;
    const state = row.detail as DeliveryState;
    states.set(state, (states.get(state) ?? 0) + row.amount);
  }
  return states;
}

function sideCounts(rows: readonly TallyRow[], wanted: (row: TallyRow) => boolean): SideCounts {
  const of = (kind: Kind) => sum(rows, (row) => wanted(row) && row.kind === kind);
  const [inserts, updates, deletes] = [of('insert'), of('update'), of('delete')];
  return {
    total: BigInt(inserts + updates + deletes),
    inserts: BigInt(inserts),
    updates: BigInt(updates),
    deletes: BigInt(deletes),
  };
}

function outcomeCounts(rows: readonly TallyRow[]): OutcomeCount[] {
  return grouped(rows, 'outcome', ({ table_name, kind, detail }) => [table_name, kind, detail]).map(
    ([[table, kind, outcome], amount]) => ({
      table: table as string,
      sent: contractKind(kind as Kind),
      outcome: contractOutcome(outcome as Outcome),
      rows: BigInt(amount),
    }),
  );
}

function extraRows(rows: readonly TallyRow[]): ExtraRows[] {
  const tables = new Set(rows.filter(({ measure }) => measure === 'extra').map(({ table_name }) => table_name));
  const of = (table: string, detail: string) =>
    BigInt(sum(rows, (row) => row.measure === 'extra' && row.table_name === table && row.detail === detail));
  return [...tables].sort().map((table) => ({ table, deleted: of(table, 'deleted'), kept: of(table, 'kept') }));
}

function originRows(rows: readonly TallyRow[]): OriginRows[] {
  const of = (word: string) => BigInt(sum(rows, (row) => row.measure === 'origin' && row.detail === word));
  return ORIGINS.map(([word, origin]) => ({ origin, rows: of(word) })).filter((one) => one.rows > 0n);
}

function captureCounts(rows: readonly TallyRow[]): CaptureCounts[] {
  const tables = [
    ...new Set(rows.filter(({ measure }) => measure === 'capture').map(({ table_name }) => table_name)),
  ].sort();
  return tables.flatMap((table) =>
    KINDS.map((kind) => {
      const of = (detail: string) =>
        BigInt(
          sum(
            rows,
            (row) =>
              row.measure === 'capture' && row.table_name === table && row.kind === kind && row.detail === detail,
          ),
        );
      return {
        table,
        kind: contractKind(kind),
        captured: of('captured'),
        packed: of('packed'),
        folded: of('folded'),
        filtered: of('filtered'),
        refused: of('refused'),
      };
    }).filter(({ captured }) => captured > 0n),
  );
}

function grouped(
  rows: readonly TallyRow[],
  measure: string,
  keyOf: (row: TallyRow) => string[],
): [key: string[], amount: number][] {
  const groups = new Map<string, [string[], number]>();
  for (const row of rows) {
    if (row.measure !== measure) continue;
    const key = keyOf(row);
    const name = JSON.stringify(key);
    groups.set(name, [key, (groups.get(name)?.[1] ?? 0) + row.amount]);
  }
  return [...groups.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group);
}

function sum(rows: readonly TallyRow[], wanted: (row: TallyRow) => boolean): number {
  return rows.reduce((all, row) => (wanted(row) ? all + row.amount : all), 0);
}

/** VERDICT_IN_FLIGHT → inFlight. */
function verdictOf(verdict: BooksLine['verdict']): Verdict {
  const words: Readonly<Record<string, Verdict>> = {
    VERDICT_BALANCED: 'balanced',
    VERDICT_EXPLAINED: 'explained',
    VERDICT_IN_FLIGHT: 'inFlight',
    VERDICT_OPEN: 'open',
  };
  return words[verdict] ?? 'deviation';
}
